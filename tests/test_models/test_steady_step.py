"""A step on a GPU must not wait for the device, nor may its work in Python grow with the batch."""

from collections import Counter

import pytest
import torch
from mmagic.structures import DataSample
from torch.utils._python_dispatch import TorchDispatchMode

import mmsampriors.models  # noqa: F401
from mmsampriors.masks import RunMasks
from mmsampriors.models import Phase
from mmsampriors.registry import MODELS, build_part

#: What asks the device for a number, or for the size of a result.
WAITS = ('_local_scalar_dense', 'nonzero', 'masked_select', 'unique', 'item', 'equal', 'is_nonzero')


class Operations(TorchDispatchMode):
    """Counts what is dispatched, and notes what would make the host wait."""

    def __init__(self):
        super().__init__()
        self.counts, self.waiting = Counter(), []

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        name = operation.overloadpacket.__name__
        self.counts[name] += 1
        boolean = name in ('index', 'index_put', 'index_put_') and any(
            index is not None and index.dtype in (torch.bool, torch.uint8) for index in args[1]
        )
        sized = name == 'repeat_interleave' and (kwargs or {}).get('output_size') is None
        if boolean or sized or any(name.lstrip('_').startswith(wait.lstrip('_')) for wait in WAITS):
            self.waiting.append(str(operation))
        return operation(*args, **(kwargs or {}))


def batch_of(count):
    gt = torch.rand(count, 3, 32, 48)
    masks = [RunMasks.from_masks(torch.rand(3 + index, 40, 50) < 0.3) for index in range(count)]
    masks = [one.crop(2, 1, 32, 48).flip('vertical').cut() for one in masks]
    samples = [
        DataSample(gt_img=image, masks=of_image, metainfo=dict(img_output_channel_order='RGB'))
        for image, of_image in zip(gt, masks)
    ]
    return gt + 0.1 * torch.randn_like(gt), DataSample.stack(samples)


def operations_of_a_step(model, count):
    batch = batch_of(count)
    with Operations() as operations:
        sum(model(*batch, mode='loss').values()).backward()
        for name, loss in model.losses.items():
            if model.phase.student and model.phase.ramp:
                loss.adapt_weight(model.gradient_norms, name, model.phase.ramp, 1.0)
    return operations


@pytest.mark.parametrize('phase', [Phase(True, True, 0.5), Phase(False, True, 0.0), Phase(True, False, 1.0)])
def test_a_step_waits_for_nothing_and_its_operations_do_not_grow_with_the_batch(model_cfg, phase):
    spf = dict(type='SPFUnit', channels=4)
    schedule = dict(type='TwoStageSchedule')
    model = build_part(MODELS, model_cfg(dict(spf=spf, schedule=schedule))).train()
    model.enter(phase)
    operations_of_a_step(model, 2)  # builds the feature extractor
    few, many = (operations_of_a_step(model, count) for count in (2, 5))
    assert not few.waiting and few.counts == many.counts


def test_the_counter_sees_what_waits():
    flags = torch.tensor([True, False])
    for wait in (
        lambda: flags.float().sum().item(),
        lambda: torch.arange(2)[flags],
        lambda: torch.repeat_interleave(torch.arange(2), torch.tensor([1, 2])),
        lambda: bool(flags.any()),
    ):
        with Operations() as operations:
            wait()
        assert operations.waiting
