"""Pictures."""
from .panel import draw_masks, draw_panel

__all__ = ['draw_masks', 'draw_panel']
