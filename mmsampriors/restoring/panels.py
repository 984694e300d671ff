"""Photograph and results side by side."""

from pathlib import Path
from typing import Dict

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from mmsampriors.files import written_whole

from .photographs import Photograph

WIDEST = 8192  # pixels of a panel; larger ones are shrunk
GAP = 8


def panel_of(images: Dict[str, np.ndarray]) -> Image.Image:
    """Images side by side with their titles.

    Args:
        images (dict[str, np.ndarray]): Title to pixels, (H, W) or (H, W, 3), uint8 or uint16, all of one size.
    """
    pictures = {title: _picture(pixels) for title, pixels in images.items()}
    width, height = next(iter(pictures.values())).size
    scale = min(1.0, (WIDEST / len(pictures) - GAP) / width)
    width, height = max(1, round(width * scale)), max(1, round(height * scale))
    size = max(12, min(48, width // 20))
    font = ImageFont.load_default(size)
    panel = Image.new('RGB', (len(pictures) * (width + GAP) - GAP, height + 2 * size), 'white')
    draw = ImageDraw.Draw(panel)
    for index, (title, picture) in enumerate(pictures.items()):
        left = index * (width + GAP)
        if picture.size != (width, height):
            picture = picture.resize((width, height), Image.Resampling.LANCZOS)
        panel.paste(picture, (left, 2 * size))
        draw.text((left + width // 2, size), title, fill='black', font=font, anchor='mm')
    return panel


def _picture(pixels):
    if pixels.dtype == np.uint16:
        pixels = np.rint(pixels / 257).astype(np.uint8)
    return Image.fromarray(pixels).convert('RGB')


def write_panel(path: Path, photographs: Dict[str, Photograph]):
    """Writes a panel as JPEG, whole or not at all; in the colour profile of the first.

    Args:
        path (Path): The file.
        photographs (dict[str, Photograph]): Title to photograph.
    """
    panel = panel_of({title: photograph.pixels for title, photograph in photographs.items()})
    with written_whole(path) as part:
        icc = next(iter(photographs.values())).icc
        panel.save(part, 'JPEG', quality=92, subsampling=0, icc_profile=icc if _is_rgb(icc) else None)


def _is_rgb(icc):
    return bool(icc) and icc[16:20] == b'RGB '
