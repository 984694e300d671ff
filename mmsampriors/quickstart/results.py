"""Photographs and results of the quickstart."""

import os
import os.path as osp
import shutil
from pathlib import Path
from typing import Dict

import skimage.data
from PIL import Image, ImageOps

from mmsampriors.checkpoints import read_checkpoint
from mmsampriors.data_preparation.degradations import RainSettings, add_rain
from mmsampriors.data_preparation.pairs import make_pairs
from mmsampriors.engine.testing import compare_on_pairs, mean_metrics
from mmsampriors.files import written_whole
from mmsampriors.images import read_rgb
from mmsampriors.masks import draw_masks
from mmsampriors.reports import draw_curves, read_scalars
from mmsampriors.reports.plots import draw_panel

from .progress import TRAININGS, Plan
from .trainings import training_config

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
    path = Path(folder, f'{Path(name).stem}.png')
    if path.exists():
        return
    image = Image.fromarray(read_rgb(osp.join(osp.dirname(skimage.data.__file__), name)))
    with written_whole(path) as part:
        ImageOps.fit(image, SIZE).save(part, 'PNG', icc_profile=None)


#: Decibels above the rainy input that the student must reach.
GAIN = 4.0
#: Test set to its folder and its heading.
SETS = dict(rain=('test', 'rain'), heavier_rain=('test_heavier', 'heavier rain'))
PANEL = dict(input='rainy', plain='plain training', spd='SPD', masks='masks', refined='refined', target='ground truth')
TABLE = dict(
    input='rainy input',
    first='student before',
    plain='plain, equal updates',
    spd='SPD',
    refined='refined (with masks)',
)


def write_results(plan: Plan) -> Dict[str, Dict[str, Dict[str, float]]]:
    """Writes ``student.pth``, ``student.py``, ``panel.png`` and ``curves.png``.

    Returns:
        dict: By the keys of :data:`SETS` and of :data:`TABLE` the mean PSNR in dB and SSIM, on the Y channel.
    """
    states = {name: read_checkpoint(plan.last_checkpoint(name))['state_dict'] for name in TRAININGS}
    comparisons = {
        name: compare_on_pairs(training_config(plan, 'spd').model, states, 'spd', plan.folder('data', folder))
        for name, (folder, _) in SETS.items()
    }
    _draw_results(comparisons, plan.folder('panel.png'))
    _draw_validations(plan, plan.folder('curves.png'))
    for suffix in ('.pth', '.py'):
        shutil.copy(plan.folder('spd', f'student{suffix}'), plan.out)
    return {name: mean_metrics(pairs) for name, pairs in comparisons.items()}


def _draw_validations(plan, path):
    """Writes the curves of plain and SPD training, by updates of the student since both began."""
    curves = {}
    for title, scalar in (('PSNR-Y in heavier rain (dB)', 'PSNR'), ('SSIM-Y', 'SSIM')):
        start = [(0, read_scalars(plan.folder('first'), scalar)[-1][1])]
        plain, spd = (read_scalars(plan.folder(name), scalar) for name in ('plain', 'spd'))
        # Until then the refiner was trained, and the student stood still.
        spd = [(step - plan.refiner, value) for step, value in spd if step > plan.refiner]
        curves[title] = {'plain': start + plain, 'SPD': start + spd}
    draw_curves(curves, path)


def _draw_results(comparisons, path):
    """Writes the labelled panel: a row a test set, each of another photograph."""
    rows, notes = {}, {}
    for number, (where, (_, title)) in enumerate(SETS.items()):
        one = comparisons[where][number % len(comparisons[where])]
        images = {**one.images, 'masks': draw_masks(one.images['spd'], one.masks)}
        rows[title] = {heading: images[name] for name, heading in PANEL.items()}
        notes[title] = {
            heading: f'{one.metrics[name]["PSNR"]:.2f} dB' for name, heading in PANEL.items() if name in one.metrics
        }
        notes[title]['rainy'] = f'{title}: {notes[title]["rainy"]}'
        notes[title]['masks'] = f'{len(one.masks)} masks'
    Image.fromarray(draw_panel(rows, notes)).save(path)


def quickstart_table(metrics: Dict[str, Dict[str, Dict[str, float]]]) -> str:
    """The table that is printed, and what it says."""
    lines = [f'{"PSNR-Y, dB":22}' + ''.join(f'{title:>14}' for _, title in SETS.values())]
    for name, title in TABLE.items():
        lines.append(f'{title:22}' + ''.join(f'{metrics[where][name]["PSNR"]:14.2f}' for where in SETS))
    gains = {where: metrics[where]['spd']['PSNR'] - metrics[where]['plain']['PSNR'] for where in SETS}
    comparison = ' and '.join(
        f'{abs(gains[where]):.2f} dB {"above" if gains[where] >= 0 else "BELOW"} plain training in {title}'
        for where, (_, title) in SETS.items()
    )
    lines += [
        '',
        f'SPD is {comparison},',
        'at equal updates of the student. It saw heavier rain too, without ground truth, which plain training cannot.',
        'One seed and two photographs are no evidence: docs/unlabeled.md has it.',
    ]
    return '\n'.join(lines)
