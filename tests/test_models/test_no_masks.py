import pytest
import torch

import mmsampriors.models  # noqa: F401
from mmsampriors.models.mask_sources import MaskSource
from mmsampriors.registry import MODELS, build_part


def test_no_masks_of_the_right_size_for_each_image():
    source = build_part(MODELS, dict(type='NoMasks'))
    found = source.segment(torch.rand(3, 3, 5, 7))
    assert [len(masks) for masks in found] == [0, 0, 0]
    assert all(masks.size == (5, 7) for masks in found)
    assert source.provenance() == dict(type='NoMasks') and not source.stored


def test_a_source_must_say_what_it_does():
    for call in (lambda: MaskSource().segment(torch.rand(1, 3, 4, 4)), MaskSource().provenance):
        with pytest.raises(NotImplementedError):
            call()
