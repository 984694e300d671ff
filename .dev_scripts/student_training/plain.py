"""Trains a network on patches that are degraded as they are drawn: no pairs on the disk, no patch seen twice."""

import math
import time
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from mmagic.models.editors.nafnet.naf_layerNorm2d import LayerNorm2d
from mmagic.models.losses import PSNRLoss
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

from mmsampriors.checkpoints import read_checkpoint
from mmsampriors.files import written_whole

PLACES = 4  # of which a patch is the one with most detail: as much as in the photographs of BSDS500, and not a third
BATCH, RATE, LAST_RATE, WARMUP = 4, 1e-3, 1e-6, 300
KEEP_EVERY, LOG_EVERY = 500, 100


class Patches:
    """Draws pairs of patches from photographs, turned and mirrored at random.

    Args:
        photographs (list[np.ndarray]): Each (H, W, 3) uint8. Those smaller than a patch and its margin are left out.
        subject (Subject): How patches are degraded, and their side and margin.
    """

    def __init__(self, photographs, subject):
        smallest = subject.patch * (1 + subject.grows) + 2 * subject.margin
        self.photographs = [image for image in photographs if min(image.shape[:2]) >= smallest]
        self.subject = subject
        weights = np.sqrt([image.shape[0] * image.shape[1] for image in self.photographs])
        self.weights = weights / weights.sum()

    def draw(self, rng, side: int):
        """A degraded patch and its truth, (3, side, side) float32 in [0, 1], in steps of 1/255 as in a file.

        Where the degradation makes images smaller, the degraded patch is as many times smaller.
        """
        margin, scale = self.subject.margin, self.subject.settings.multiple
        truth = max((self._place(rng, side + 2 * margin) for _ in range(PLACES)), key=_detail)
        truth = np.rot90(truth, rng.integers(4))[:, :: rng.choice((1, -1))].astype(np.float32) / 255
        if self.subject.soft and rng.random() < 0.5:
            truth = cv2.GaussianBlur(truth, (0, 0), rng.uniform(0.3, self.subject.soft))
        degraded = truth
        if not self.subject.undamaged or rng.random() >= self.subject.undamaged:
            degraded = self.subject.degrade(truth, rng, **vars(self.subject.settings))
        # The blocks of JPEG begin anywhere in a patch, as they do in a crop.
        corner = rng.integers(margin // 2, margin // 2 * 3 + 1, size=2) // scale
        return (
            _as_tensor(_part(image, corner * size, side // scale * size))
            for image, size in ((degraded, 1), (truth, scale))
        )

    def _place(self, rng, side):
        image = self.photographs[rng.choice(len(self.photographs), p=self.weights)]
        top, left = (rng.integers(size - side + 1) for size in image.shape[:2])
        return image[top : top + side, left : left + side]

    def batch(self, rng, count: int = BATCH, late: bool = False):
        """``count`` of both, stacked; ``late``, where patches grow: half as many of twice the side."""
        times = 2 if late and self.subject.grows else 1
        degraded, truth = zip(*(self.draw(rng, self.subject.patch * times) for _ in range(count // times)))
        return torch.stack(degraded), torch.stack(truth)


def _detail(patch):
    green = patch[..., 1].astype(np.int16)
    return np.abs(np.diff(green, axis=0)).mean() + np.abs(np.diff(green, axis=1)).mean()


def _part(image, corner, side):
    return np.round(image[corner[0] : corner[0] + side, corner[1] : corner[1] + side] * 255) / 255


def _as_tensor(patch):
    return torch.from_numpy(np.ascontiguousarray(patch.transpose(2, 0, 1), np.float32))


def rate(update: int, updates: int) -> float:
    """The learning rate: constant for the first half, a cosine to ``LAST_RATE`` in the second.

    Until half-time a training does not depend on its length, so that it may still be made longer or shorter.
    """
    fall = max(0.0, 2 * update / updates - 1)
    return min(1.0, (update + 1) / WARMUP) * (LAST_RATE + (RATE - LAST_RATE) * (1 + math.cos(math.pi * fall)) / 2)


def bounded_psnr_loss(restored, truth):
    """Minus the PSNR of each image in dB, as of an error with another beside it of 35 dB; then the mean.

    So an image that is nearly right does not count without bound, as it does in PSNRLoss.
    """
    errors = (restored - truth).square().mean(dim=(1, 2, 3))
    return 10 * (errors + 10**-3.5).log10().mean()


LOSSES = dict(psnr=PSNRLoss(), bounded_psnr=bounded_psnr_loss, l1=F.l1_loss)


class _LayerNorm2d(LayerNorm2d):
    """The same with PyTorch's kernel, which is faster on a CPU."""

    def forward(self, x):
        return F.layer_norm(x.movedim(1, 3), self.weight.shape, self.weight, self.bias, self.eps).movedim(3, 1)


def made_fast(net: nn.Module) -> nn.Module:
    """Changes how ``net`` computes on a CPU, not what."""
    for module in net.modules():
        if isinstance(module, LayerNorm2d):
            module.__class__ = _LayerNorm2d
    return net.to(memory_format=torch.channels_last)


@dataclass(frozen=True)
class Machine:
    """What a training runs on.

    Args:
        device (str): Of torch.
        workers (int): Processes that draw patches; 0: this one does. They change nothing in the result.
        batch (int): Patches an update.
    """

    device: str = 'cpu'
    workers: int = 0
    batch: int = BATCH


@dataclass(frozen=True)
class Batches(Dataset):
    """The batch of each update, as a data set."""

    patches: Patches
    updates: int
    seed: int
    count: int

    def __len__(self):
        return self.updates

    def __getitem__(self, update):
        late = 2 * update >= self.updates
        return self.patches.batch(np.random.default_rng([self.seed, update]), self.count, late)


def train(net: nn.Module, patches: Patches, updates: int, out: Path, machine: Machine = Machine(), seed: int = 0):
    """Trains ``net`` in place, in bfloat16, and keeps the state in ``out``, from which a stopped training goes on.

    Args:
        net (nn.Module): The network.
        patches (Patches): What to train on.
        updates (int): How many.
        out (Path): Folder of the state.
        machine (Machine): What it runs on.
        seed (int): Of the patches. Each update has a generator of its own.
    """
    net = made_fast(net).to(machine.device)
    optimizer = torch.optim.AdamW(net.parameters(), lr=RATE, betas=(0.9, 0.9), weight_decay=0, fused=True)
    first = _resume(net, optimizer, out / 'state.pth')
    batches = Batches(patches, updates, seed, machine.batch)
    loader = DataLoader(batches, batch_size=None, sampler=range(first, updates), num_workers=machine.workers)
    losses, began = [], time.time()
    for update, pair in enumerate(loader, first):
        optimizer.param_groups[0]['lr'] = rate(update, updates)
        degraded, truth = (images.to(machine.device) for images in pair)
        losses.append(_step(net, optimizer, degraded, truth, LOSSES[patches.subject.loss]))
        if (update + 1) % LOG_EVERY == 0:
            seconds = (time.time() - began) / (update + 1 - first)
            print(
                f'{update + 1} of {updates}: loss {torch.stack(losses).mean():.5f}, {seconds:.3f} s an update',
                flush=True,
            )
            losses.clear()
        if (update + 1) % KEEP_EVERY == 0 or update + 1 == updates:
            _keep(net, optimizer, update + 1, out / 'state.pth')


def _step(net, optimizer, degraded, truth, loss_function):
    with torch.autocast(degraded.device.type, torch.bfloat16):
        restored = net(degraded)
    loss = loss_function(restored.float(), truth)
    optimizer.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(net.parameters(), 1.0)
    optimizer.step()
    return loss.detach()


def _keep(net, optimizer, update, path):
    with written_whole(path) as part:
        torch.save(dict(net=net.state_dict(), optimizer=optimizer.state_dict(), update=update), part)


def _resume(net, optimizer, path):
    if not path.is_file():
        return 0
    kept = read_checkpoint(path)
    net.load_state_dict(kept['net'])
    optimizer.load_state_dict(kept['optimizer'])
    return kept['update']
