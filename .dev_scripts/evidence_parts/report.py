"""Table and curves of the rows."""

from itertools import product
from pathlib import Path
from statistics import fmean, stdev
from typing import List

from mmsampriors.files import write_whole
from mmsampriors.reports import draw_curves, markdown_table

from .groups import CELL, DEFAULT, Group, baseline_of, by_seed, groups_of, over_images
from .trainings import STUDENTS

#: Students that the others are compared with.
BASELINES = ('plain', 'plain_restarted', 'plain_same_time', 'self', 'labelled')
NOTE = """± is the standard deviation over n seeds. Differences are in dB of PSNR, paired by seed, with the paired-t
95 % interval; in braces the bootstrap 95 % interval over the images. The segmentation score is the mean best IoU, in
both directions, with human segments where there are any, else with the judge's masks of the ground truth. For refined
images the source of the masks segments the restored image; human segments are those of the photograph.
plain_restarted is the
control of two stages: it starts where their student's stage does, at the same learning rates, and distils nothing."""


def write_report(out: Path, rows: List[dict]):
    """Writes ``table.md`` and ``curves.png``.

    Args:
        out (Path): Folder.
        rows (list[dict]): At least one.
    """
    cells = {tuple(row[name] for name in CELL): None for row in rows}
    students = [*STUDENTS, 'refiner']
    groups = sorted(groups_of(rows), key=lambda group: (list(cells).index(group.cell), students.index(group.student)))
    parts = [
        '# Evidence',
        NOTE,
        students_table(groups),
        ablations_table(groups),
        refiner_table(groups),
        averages(groups),
        _sizes(rows),
    ]
    write_whole(out / 'table.md', '\n\n'.join(filter(None, parts)) + '\n')
    draw_psnr(groups, str(out / 'curves.png'))


def students_table(groups: List[Group]) -> str:
    """A line a cell and student."""
    header = (
        'task; model; test set; student; n; PSNR; SSIM; segmentation; border PSNR; '
        'refined; − plain; − plain, restarted; − plain, same time; − self; − without unlabeled'
    ).split('; ')
    lines = [
        [
            *_of_cell(group),
            group.title,
            str(len(group.rows)),
            _level(group, 'psnr', 2),
            _level(group, 'ssim', 4),
            _level(group, 'segmentation', 3),
            _level(group, 'border_psnr', 2),
            _level(group, 'refined_psnr', 2),
            *(_difference(group, groups, student) for student in BASELINES),
        ]
        for group in groups
        if group.student != 'refiner'
    ]
    return f'## Students\n\n{markdown_table(header, lines)}' if lines else ''


def ablations_table(groups: List[Group]) -> str:
    """What each change of the method is worth, on the degradation that was trained on."""
    lines = [
        [
            *_of_cell(group),
            group.title,
            str(len(group.rows)),
            _level(group, 'refined_psnr', 2),
            *(_difference(group, groups, student) for student in ('spd', 'plain')),
        ]
        for group in groups
        if _is_own(group)
        and group.student in ('self', 'spd')
        and group.method != DEFAULT
        and baseline_of(group, groups, 'spd')
    ]
    header = ['task', 'model', 'test set', 'instead of the defaults', 'n', 'refined', '− the defaults', '− plain']
    return f'## Ablations\n\n{markdown_table(header, lines)}' if lines else ''


def refiner_table(groups: List[Group]) -> str:
    """A line a cell and source of masks: the refined image over one frozen student."""
    header = (
        'task; model; test set; refiner; n; student; refined; − no masks; border, refined; − no masks at borders'
    ).split('; ')
    lines = []
    for group in groups:
        if group.student == 'refiner':
            baseline = baseline_of(group, groups, 'refiner')
            lines.append(
                [
                    *_of_cell(group),
                    group.title,
                    str(len(group.rows)),
                    _level(group, 'psnr', 2),
                    _level(group, 'refined_psnr', 2),
                    _difference(group, groups, 'refiner', 'refined_psnr'),
                    _level(group, 'refined_border_psnr', 2),
                    str((baseline and by_seed(group, baseline, 'refined_border_psnr')) or '-'),
                ]
            )
    return f'## Refiner over a frozen student\n\n{markdown_table(header, lines)}' if lines else ''


def averages(groups: List[Group]) -> str:
    """What full SPD gains on the degradations that were trained on, and on others."""
    lines = []
    titles = dict.fromkeys(group.title for group in groups if group.student == 'spd')
    for title, baseline, own in product(titles, BASELINES, (True, False)):
        chosen = [group for group in groups if group.title == title and _is_own(group) is own]
        gains = [by_seed(group, other) for group in chosen for other in [baseline_of(group, groups, baseline)] if other]
        means = [gain.mean for gain in gains if gain]
        if means:
            clear = sum(gain.low is not None and gain.low > 0 for gain in gains if gain)
            lines.append(
                [
                    title,
                    baseline,
                    'trained on' if own else 'unlike',
                    str(len(means)),
                    f'{fmean(means):+.3f}',
                    str(sum(mean > 0 for mean in means)),
                    str(clear),
                ]
            )
    header = ['student', 'minus', 'degradation', 'test sets', 'mean gain', 'gain above 0', 'interval above 0']
    return f'## Over all networks and test sets\n\n{markdown_table(header, lines)}' if lines else ''


def draw_psnr(groups: List[Group], path: str) -> bool:
    """PSNR over iterations, mean over seeds, a panel a cell; whether there was anything to draw."""
    panels = {}
    for group in groups:
        name = 'refined_curve' if group.student == 'refiner' else 'curve'
        curves = [dict(map(tuple, row[name])) for row in group.rows.values() if row.get(name)]
        steps = sorted(set.intersection(*map(set, curves))) if curves else []
        if steps:
            panel = f'{"refiner, " if group.student == "refiner" else ""}{_place(group)}: PSNR (dB)'
            panels.setdefault(panel, {})[group.title] = [
                (step, fmean(curve[step] for curve in curves)) for step in steps
            ]
    if panels:
        draw_curves(panels, path)
    return bool(panels)


def _of_cell(group):
    cell = group.named_cell
    count = len(next(iter(group.rows.values())).get('images', ()))
    place = f'{cell["test_set"]} ({cell["test_on"]}, {count} photographs)'
    return [cell['task'], f'{cell["model"]}, {cell["updates"]}', place]


def _place(group):
    cell = group.named_cell
    return f'{cell["trained_on"]}, {cell["model"]}, {cell["updates"]} updates ({cell["preset"]})'


def _is_own(group):
    """Whether it was tested on the degradation that it was trained on."""
    return group.named_cell['trained_on'] == group.named_cell['test_set']


def _level(group, name, digits):
    values = group.values(name)
    if not values:
        return '-'
    return f'{fmean(values):.{digits}f}' + (f' ± {stdev(values):.{digits}f}' if len(values) > 1 else '')


def _difference(group, groups, student, name='psnr'):
    baseline = baseline_of(group, groups, student)
    if baseline is None:
        return '-'
    images = over_images(group, baseline, 'refined_images' if name == 'refined_psnr' else 'images')
    return str(by_seed(group, baseline, name) or '-') + (
        f' {{{images.low:+.2f}, {images.high:+.2f}}}' if images and images.low is not None else ''
    )


def _sizes(rows):
    """Hardware, seeds and sizes, which stand beside the figures."""
    lines = {
        f'- preset {row["preset"]}, {row["model"]}: {row["updates"]} student updates, patches of {row["patch"]}², '
        f'batch {row["batch"]}, {row["hardware"]}'
        for row in rows
    }
    ratios = {
        f'- {row["task"]}, {row["model"]}, seed {row["seed"]}: SPD ({row["masks"]}) costs '
        f'{row["cost_ratio"]:.2f} times plain training'
        for row in rows
        if row['student'] == 'plain_same_time'
    }
    seeds = sorted({row['seed'] for row in rows})
    return '## Sizes\n\n' + '\n'.join([*sorted(lines), *sorted(ratios), f'- seeds {", ".join(map(str, seeds))}'])
