"""Restoration networks that mmagic does not have."""

from .dncnn import DnCNN

__all__ = ['DnCNN']
