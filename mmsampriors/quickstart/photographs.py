"""Rainy pairs, and photographs in heavier rain, made from photographs that scikit-image ships."""

import os
import os.path as osp
from pathlib import Path

import skimage.data
from PIL import Image, ImageOps

from mmsampriors.data_preparation.degradations import RainSettings, add_rain
from mmsampriors.data_preparation.pairs import make_pairs

PHOTOGRAPHS = dict(
    train=['astronaut.png', 'rocket.jpg', 'motorcycle_left.png', 'motorcycle_right.png'],
    test=['chelsea.png', 'coffee.png'],
)
#: Width and height in pixels. One size for all, so that their masks are computed in one batch.
SIZE = (352, 240)
#: Rain that is seen at first sight, without a veil: streaks are what a small network clears in minutes.
RAIN = RainSettings(veiling=0, density=(0.1, 0.25), brightness=(0.5, 0.85))
#: Rain of which nobody has the ground truth.
HEAVIER = RainSettings(veiling=0, density=(0.3, 0.4), brightness=(0.5, 0.85))
#: Seeds of the heavier rains from here on: no rain falls twice.
SEED = 1000


def make_data(out: str, rains: int):
    """Writes photographs and rainy ones below ``out``; what is there is kept.

    Args:
        out (str): Gets ``photographs``, and pairs in ``data/train/rain_N`` and ``data/heavier/rain_N`` for every rain
            N, in ``data/test`` and in ``data/test_heavier``. Of ``heavier`` nothing but ``input`` is used.
        rains (int): How often each training photograph is rained on.
    """
    for split, names in PHOTOGRAPHS.items():
        folder = osp.join(out, 'photographs', split)
        os.makedirs(folder, exist_ok=True)
        for name in names:
            _write_photograph(name, folder)
        if split == 'test':
            make_pairs(folder, osp.join(out, 'data', 'test'), add_rain, RAIN)
            make_pairs(folder, osp.join(out, 'data', 'test_heavier'), add_rain, HEAVIER, seed=SEED)
        else:
            for number in range(rains):
                make_pairs(folder, osp.join(out, 'data', 'train', f'rain_{number}'), add_rain, RAIN, seed=number)
                heavier = osp.join(out, 'data', 'heavier', f'rain_{number}')
                make_pairs(folder, heavier, add_rain, HEAVIER, seed=SEED + 1 + number)


def _write_photograph(name, folder):
    with Image.open(osp.join(osp.dirname(skimage.data.__file__), name)) as image:
        photograph = ImageOps.fit(image.convert('RGB'), SIZE)
    photograph.save(osp.join(folder, f'{Path(name).stem}.png'), icc_profile=None)
