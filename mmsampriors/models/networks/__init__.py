"""Restoration networks that mmagic does not have. A config names the module of the one it uses in custom_imports."""
