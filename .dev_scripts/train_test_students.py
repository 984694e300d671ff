"""Trains the small denoisers that the tests of restoring tile: ``train_test_students.py [NAME ...]``.

A network with random weights cannot say what tiles cost, for it restores nothing. Each of these takes Gaussian noise of
σ 25 from scikit-image's photographs. Weights are kept in float16.
"""

import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

import mmsampriors  # noqa: F401  (before mmagic, which it mends)

# isort: split
import mmagic.models  # noqa: E402, F401  (registers the networks)
import numpy as np  # noqa: E402
import skimage.data  # noqa: E402
import torch  # noqa: E402
from mmagic.registry import MODELS  # noqa: E402
from mmengine.registry import init_default_scope  # noqa: E402
from safetensors.torch import save_file  # noqa: E402

sys.path.insert(0, str(ROOT / 'tests' / 'test_inference'))
from students import FOLDER, NETWORKS  # noqa: E402

PHOTOGRAPHS = ('astronaut', 'rocket', 'immunohistochemistry', 'retina')
SIGMA, BATCH = 25 / 255, 4
#: Steps and side of the patches, so that each takes minutes on one core.
SCHEDULES = dict(nafnet=(1500, 96), restormer=(600, 64), swinir=(600, 64))


def batch_of(photographs, patch, random):
    """Patches with and without noise, (BATCH, 3, patch, patch) each, in [0, 1]."""
    patches = []
    for _ in range(BATCH):
        photograph = photographs[random.integers(len(photographs))]
        top, left = (random.integers(side - patch + 1) for side in photograph.shape[:2])
        patches.append(photograph[top : top + patch, left : left + patch].astype(np.float32) / 255)
    clean = torch.from_numpy(np.stack(patches)).permute(0, 3, 1, 2)
    noise = torch.from_numpy(random.normal(0, SIGMA, tuple(clean.shape)).astype(np.float32))
    return (clean + noise).clamp(0, 1), clean


def train(name: str):
    """Trains one network and writes its weights."""
    steps, patch = SCHEDULES[name]
    torch.manual_seed(0)
    random = np.random.default_rng(0)
    photographs = [getattr(skimage.data, photograph)() for photograph in PHOTOGRAPHS]
    network = MODELS.build(dict(NETWORKS[name]))
    optimizer = torch.optim.AdamW(network.parameters(), lr=2e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, steps)
    for step in range(steps):
        noisy, clean = batch_of(photographs, patch, random)
        loss = (network(noisy) - clean).abs().mean()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if step % 100 == 99:
            psnr = -10 * (network(noisy).detach().clamp(0, 1) - clean).square().mean().log10()
            print(f'{name} {step + 1}: {psnr:.2f} dB on its own patches', flush=True)
    learnt = dict(network.named_parameters())
    save_file({key: value.detach().half() for key, value in learnt.items()}, FOLDER / f'{name}.safetensors')


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('names', nargs='*', default=list(NETWORKS))
    args = parser.parse_args()
    torch.set_num_threads(1)
    init_default_scope('mmagic')
    for name in args.names:
        train(name)


if __name__ == '__main__':
    main()
