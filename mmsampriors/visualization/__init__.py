"""Pictures."""
from .curves import draw_curves, read_scalars
from .panel import draw_masks, draw_panel

__all__ = ['draw_curves', 'draw_masks', 'draw_panel', 'read_scalars']
