"""Pictures of images and masks side by side."""

from typing import Dict

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure


def as_squares(image: np.ndarray, scale: int) -> np.ndarray:
    """The image ``scale`` times as large, each pixel a square: what super-resolution starts from.

    Args:
        image (np.ndarray): (H, W, 3).
        scale (int): At least 1.
    """
    return image.repeat(scale, 0).repeat(scale, 1)


def draw_panel(rows: Dict[str, Dict[str, np.ndarray]], notes: Dict[str, Dict[str, str]] = None) -> np.ndarray:
    """Images side by side, with titles.

    Args:
        rows (dict[str, dict[str, np.ndarray]]): Row name to title to image, (H, W, 3), uint8, RGB; all rows have the
            same titles.
        notes (dict[str, dict[str, str]], optional): Row name to title to a line under that image.

    Returns:
        np.ndarray: (H', W', 3), uint8, RGB.
    """
    titles = list(next(iter(rows.values())))
    heights = [max(image.shape[0] / image.shape[1] for image in row.values()) for row in rows.values()]
    figure = Figure(figsize=(3.2 * len(titles), sum(3.2 * height + 0.45 for height in heights)), dpi=110)
    canvas = FigureCanvasAgg(figure)
    axes = figure.subplots(len(rows), len(titles), squeeze=False, height_ratios=heights)
    for index, (name, row) in enumerate(rows.items()):
        for title, axis in zip(titles, axes[index]):
            axis.imshow(row[title])
            axis.set_xticks([])
            axis.set_yticks([])
            axis.set_xlabel((notes or {}).get(name, {}).get(title, ''), fontsize=11)
            if index == 0:
                axis.set_title(title, fontsize=13)
    figure.tight_layout(pad=0.4)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()
