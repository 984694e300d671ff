"""Transforms, samplers and degradations."""
