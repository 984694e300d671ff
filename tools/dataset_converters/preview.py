"""Draws degradations_{rain,blur,noise}.jpg of the docs: what rain, blur and noise make of a photograph."""

import argparse
import io
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np  # noqa: E402
import skimage.data  # noqa: E402
from matplotlib.figure import Figure  # noqa: E402

from mmsampriors.data_preparation.degradations import (  # noqa: E402
    BlurSettings,
    add_blur,
    add_noise,
    add_rain,
    shake_kernel,  # noqa: E402
)
from mmsampriors.files import MadeFiles  # noqa: E402

#: Part of a photograph that scikit-image ships: name, top, left; SIDE pixels a side.
PHOTOGRAPHS = dict(rain=('coffee', 40, 110), blur=('astronaut', 0, 110), noise=('chelsea', 20, 90))
SIDE = 250
KERNEL_SIDE = 59
MAX_BYTES = 190_000

RAIN = dict(angle=15, length=25, width=1.5, density=0.12, brightness=0.6, veiling=0)
#: Kind to function to caption to settings; two rows of four.
PANELS = dict(
    rain=(
        add_rain,
        {
            'photograph': None,
            'density 0.12': RAIN,
            'density 0.5': dict(RAIN, density=0.5),
            'brightness 0.9': dict(RAIN, brightness=0.9),
            'angle -50': dict(RAIN, angle=-50),
            'length 80': dict(RAIN, length=80),
            'width 3': dict(RAIN, width=3),
            'veiling 0.5': dict(RAIN, veiling=0.5),
        },
    ),
    blur=(
        add_blur,
        {
            'photograph': None,
            'length 10': dict(length=10, turn=100),
            'length 25': dict(length=25, turn=100),
            'length 50': dict(length=50, turn=100),
            'length 25, another path': dict(length=25, turn=100),
            'turn 0 (straight)': dict(length=25, turn=0),
            'turn 200': dict(length=25, turn=200),
            'turn 400': dict(length=25, turn=400),
        },
    ),
    noise=(
        add_noise,
        {
            'photograph': None,
            'sigma 15': dict(sigma=15),
            'sigma 25': dict(sigma=25),
            'sigma 50': dict(sigma=50),
            'sigma 75': dict(sigma=75),
            'peak 200 (Poisson)': dict(sigma=0, peak=200),
            'peak 30 (Poisson)': dict(sigma=0, peak=30),
            'sigma 10, peak 60': dict(sigma=10, peak=60),
        },
    ),
)
COLUMNS = 4


def crop_of(kind) -> np.ndarray:
    """The part of a photograph that one kind of degradation is shown on, (SIDE, SIDE, 3), float32 in [0, 1]."""
    name, top, left = PHOTOGRAPHS[kind]
    return getattr(skimage.data, name)()[top : top + SIDE, left : left + SIDE, :3].astype(np.float32) / 255


def panels_of(kind) -> dict:
    """Caption to image of one kind, (SIDE, SIDE, 3), float32 in [0, 1]; blurred ones with their kernel in a corner."""
    degrade, panels = PANELS[kind]
    made = {}
    for seed, (caption, settings) in enumerate(panels.items()):
        made[caption] = crop_of(kind)
        if settings is not None:
            made[caption] = degrade(made[caption], np.random.default_rng(seed), **settings)
        if kind == 'blur' and settings is not None:
            made[caption][-KERNEL_SIDE:, -KERNEL_SIDE:] = kernel_of(settings, seed)
    return made


def kernel_of(settings, seed) -> np.ndarray:
    """The kernel that add_blur draws with this seed, on black, at its own scale, (KERNEL_SIDE, KERNEL_SIDE, 1)."""
    rng = np.random.default_rng(seed)
    kernel = shake_kernel(rng, **BlurSettings(**settings).draw(rng))
    kernel = np.pad(kernel, (KERNEL_SIDE - len(kernel)) // 2)  # both sides are odd
    return np.sqrt(kernel / kernel.max())[..., None]


def draw(kind) -> Figure:
    """The picture of one kind."""
    panels = panels_of(kind)
    rows = len(panels) // COLUMNS
    figure = Figure(figsize=(3.2 * COLUMNS, 3.45 * rows), dpi=110)
    for axis, (caption, image) in zip(figure.subplots(rows, COLUMNS).ravel(), panels.items()):
        axis.imshow(image, interpolation='nearest')
        axis.set_xticks([])
        axis.set_yticks([])
        axis.set_xlabel(caption, fontsize=12)
    figure.tight_layout(pad=0.4)
    return figure


def as_jpeg(figure) -> bytes:
    """The best quality that stays below MAX_BYTES."""
    for quality in range(95, 20, -5):
        content = io.BytesIO()
        figure.savefig(content, format='jpeg', pil_kwargs=dict(quality=quality))
        if content.tell() <= MAX_BYTES:
            break
    return content.getvalue()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--out', default='work_dirs/preview', help='folder of the pictures (%(default)s)')
    args = parser.parse_args()
    made, names = MadeFiles(args.out, 'preview'), {kind: f'degradations_{kind}.jpg' for kind in PANELS}
    try:
        made.refuse_changed(names.values())
        for kind, name in names.items():
            content = as_jpeg(draw(kind))
            made.write(name, content)
            print(f'{Path(args.out) / name}: {len(content) / 1000:.0f} kB')
    except OSError as error:
        sys.exit(f'error: {error}')


if __name__ == '__main__':
    main()
