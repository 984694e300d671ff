"""A local page that restores a photograph and shows what SAM sees in it: ``tools/demo.py``.

Importing this is light. gradio, an extra of the package, is imported by :mod:`.page` and :mod:`.server` alone.
"""
