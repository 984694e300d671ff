"""What restoring asks of a network, whatever runs it."""

from abc import ABC, abstractmethod
from typing import List

import numpy as np

#: Sides below this are made larger by repeating the border: networks cannot mirror less than they pad.
SMALLEST_SIDE = 16


class Network(ABC):
    """A network that restores images at their own size.

    Attributes:
        name (str): For people.
        identity (str): Changes with whatever changes its results.
        channels (int): Of its images: 3, RGB, or 1, gray.
        bytes_per_pixel (float): Memory that it needs for each pixel of an image.
        most_bytes (int, optional): What it should take at most, even where more is free.
        notes (list[str]): What people should know before they use it.
        tile_note (str, optional): What they should know when tiles are used.
    """

    name: str
    identity: str
    channels: int
    bytes_per_pixel: float
    most_bytes = None
    notes: List[str]
    tile_note = None

    @abstractmethod
    def free_bytes(self) -> int:
        """Memory that is free where it runs."""

    @abstractmethod
    def run(self, images: np.ndarray) -> np.ndarray:
        """Restores (N, channels, H, W), float32, in [0, 1]."""

    def restore_tile(self, pixels: np.ndarray) -> np.ndarray:
        """Restores one image or a part of one.

        Args:
            pixels (np.ndarray): (H, W, channels), float32, in [0, 1].

        Returns:
            np.ndarray: Likewise.
        """
        height, width = pixels.shape[:2]
        missing = [max(0, SMALLEST_SIDE - side) for side in (height, width)]
        if any(missing):
            pixels = np.pad(pixels, ((0, missing[0]), (0, missing[1]), (0, 0)), mode='edge')
        images = np.ascontiguousarray(pixels.transpose(2, 0, 1)[None], dtype=np.float32)
        return self.run(images)[0].transpose(1, 2, 0)[:height, :width].copy()
