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
    """Writes ``student.pth``, ``student.py``, ``panel.png``, ``curves.png`` and ``metrics.json``.

    Returns:
        dict: By the keys of :data:`SETS` and of :data:`TABLE` the mean PSNR in dB and SSIM, on the Y channel.
    """
    states = {name: read_checkpoint(plan.last_checkpoint(name))['state_dict'] for name in TRAININGS}
    comparisons = {
        name: compare_on_pairs(config_of(plan, 'spd').model, states, 'spd', plan.folder('data', folder))
        for name, (folder, _) in SETS.items()
    }
    _draw_results(comparisons, plan.folder('panel.png'))
    _draw_validations(plan, plan.folder('curves.png'))
    for suffix in ('.pth', '.py'):
        shutil.copy(plan.folder('spd', f'student{suffix}'), plan.out)
    metrics = {name: mean_metrics(pairs) for name, pairs in comparisons.items()}
    # Written last: where it is, the run is complete.
    write_whole(plan.folder('metrics.json'), json.dumps(metrics, indent=2))
    return metrics


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


def table_of(metrics: Dict[str, Dict[str, Dict[str, float]]]) -> str:
    """The table that is printed, and what it says."""
    lines = [f'{"PSNR-Y, dB":22}' + ''.join(f'{title:>14}' for _, title in SETS.values())]
    for name, title in TABLE.items():
        lines.append(f'{title:22}' + ''.join(f'{metrics[where][name]["PSNR"]:14.2f}' for where in SETS))
    gains = {where: metrics[where]['spd']['PSNR'] - metrics[where]['plain']['PSNR'] for where in SETS}
    said = ' and '.join(
        f'{abs(gains[where]):.2f} dB {"above" if gains[where] >= 0 else "BELOW"} plain training in {title}'
        for where, (_, title) in SETS.items()
    )
    lines += [
        '',
        f'SPD is {said},',
        'at equal updates of the student. It saw heavier rain too, without ground truth, which plain training cannot.',
        'One seed and two photographs are no evidence: docs/unlabeled.md has it.',
    ]
    return '\n'.join(lines)
