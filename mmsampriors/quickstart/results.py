"""What the quickstart leaves: the student, a panel, curves, and a table."""

import json
import shutil
from typing import Dict

from PIL import Image

from mmsampriors.checkpoints import read_checkpoint
from mmsampriors.engine.compare_on_pairs import compare_on_pairs, mean_metrics
from mmsampriors.files import write_whole
from mmsampriors.reports import draw_curves, read_scalars
from mmsampriors.visualization import draw_masks, draw_panel

from .configs import config_of
from .plan import TRAININGS, Plan

#: Decibels above the rainy input that the student must reach.
GAIN = 4.0
PANEL = dict(
    input='rainy', first='student before', spd='student after', masks='masks', refined='refined', target='ground truth'
)
TABLE = dict(
    input='rainy input',
    first='student before',
    plain='plain, equal updates',
    spd='SPD',
    refined='refined (with masks)',
)


def write_results(plan: Plan) -> Dict[str, Dict[str, float]]:
    """Writes ``student.pth``, ``student.py``, ``panel.png``, ``curves.png`` and ``metrics.json``.

    Returns:
        dict[str, dict[str, float]]: Mean PSNR in dB and SSIM, on the Y channel, by the keys of :data:`TABLE`.
    """
    states = {name: read_checkpoint(plan.last_checkpoint(name))['state_dict'] for name in TRAININGS}
    comparisons = compare_on_pairs(config_of(plan, 'spd').model, states, 'spd', plan.folder('data', 'test'))
    _draw_results(comparisons, plan.folder('panel.png'))
    _draw_validations(plan, plan.folder('curves.png'))
    for suffix in ('.pth', '.py'):
        shutil.copy(plan.folder('spd', f'student{suffix}'), plan.out)
    metrics = mean_metrics(comparisons)
    # Written last: where it is, the run is complete.
    write_whole(plan.folder('metrics.json'), json.dumps(metrics, indent=2))
    return metrics


def _draw_validations(plan, path):
    """Writes the curves of plain and SPD training, by updates of the student since both began."""
    curves = {}
    for title, scalar in (('PSNR-Y on the test photographs (dB)', 'PSNR'), ('SSIM-Y', 'SSIM')):
        start = [(0, read_scalars(plan.folder('first'), scalar)[-1][1])]
        plain, spd = (read_scalars(plan.folder(name), scalar) for name in ('plain', 'spd'))
        # Until then the refiner was trained, and the student stood still.
        spd = [(step - plan.refiner, value) for step, value in spd if step > plan.refiner]
        curves[title] = {'plain': start + plain, 'SPD': start + spd}
    draw_curves(curves, path)


def _draw_results(comparisons, path):
    """Writes the labelled panel, a row a photograph."""
    rows, notes = {}, {}
    for one in comparisons:
        images = {**one.images, 'masks': draw_masks(one.images['spd'], one.masks)}
        rows[one.name] = {title: images[name] for name, title in PANEL.items()}
        notes[one.name] = {
            title: f'{one.metrics[name]["PSNR"]:.2f} dB' for name, title in PANEL.items() if name in one.metrics
        }
        notes[one.name]['masks'] = f'{len(one.masks)} masks'
    Image.fromarray(draw_panel(rows, notes)).save(path)


def table_of(metrics: Dict[str, Dict[str, float]]) -> str:
    """The table that is printed, and what it says."""
    lines = [f'{"":22}{"PSNR-Y":>10}{"SSIM-Y":>10}']
    for name, title in TABLE.items():
        lines.append(f'{title:22}{metrics[name]["PSNR"]:7.2f} dB{metrics[name]["SSIM"]:10.4f}')
    gain = metrics['spd']['PSNR'] - metrics['plain']['PSNR']
    side = 'above' if gain >= 0 else 'BELOW'
    lines += [
        '',
        f'SPD is {abs(gain):.2f} dB {side} plain training at equal updates of the student.',
        'One seed and two photographs are no evidence for or against the method.',
    ]
    return '\n'.join(lines)
