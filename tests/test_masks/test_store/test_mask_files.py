"""Masks as files of their own, beside the tests of segment.py that writes them."""

import io

import torch
from PIL import Image

from mmsampriors.masks.image_masks import ImageMasks
from mmsampriors.masks.store.cache import ImageFile
from mmsampriors.masks.store.mask_files import ENCODERS


def test_the_preview_of_a_very_long_photograph_is_made_smaller(tmp_path):
    Image.new('RGB', (70_000, 2)).save(tmp_path / 'long.png')
    masks = ImageMasks.from_masks(torch.ones(1, 2, 70_000, dtype=torch.bool))
    preview = Image.open(io.BytesIO(ENCODERS['preview'](ImageFile(tmp_path / 'long.png'), masks)))
    assert preview.format == 'JPEG' and preview.size == (65_500, 2)
