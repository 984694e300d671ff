"""Pictures of what SPD does to an image."""

from .panel import draw_masks, draw_panel

__all__ = ['draw_masks', 'draw_panel']
