"""Plots of several runs, and images side by side."""

import io
from typing import Dict, List, Tuple

import numpy as np
from matplotlib import colormaps
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from mmsampriors.files import write_whole

from .run_comparison import Cell, Level
from .tables import Measure


def draw_differences(cells: List[Cell]) -> bytes:
    """A PNG with a panel a metric: on each test set, how far the runs lie from the mean of the first group.

    Args:
        cells (list[Cell]): Of :func:`mmsampriors.reports.compare_runs`.
    """
    metrics, groups = (list(dict.fromkeys(getattr(cell, name) for cell in cells)) for name in ('metric', 'group'))
    zero = {(cell.test_set, cell.metric): cell.level.mean for cell in cells if cell.group == groups[0]}
    figure, axes = _panels(metrics, [f'{metric}, above {groups[0]}' for metric in metrics])
    for metric, axis in zip(metrics, axes):
        sets = list(dict.fromkeys(cell.test_set for cell in cells if cell.metric == metric))
        for index, group in enumerate(groups):
            shift = 0.6 * ((index + 0.5) / len(groups) - 0.5)
            for cell in (cell for cell in cells if (cell.metric, cell.group) == (metric, group)):
                place, base = sets.index(cell.test_set) + shift, zero[cell.test_set, metric]
                values = [value - base for value in cell.values]
                axis.plot([place] * len(values), values, '.', color=f'C{index}', alpha=0.5)
                axis.errorbar(
                    place,
                    cell.level.mean - base,
                    cell.level.std,
                    fmt='_',
                    markersize=14,
                    capsize=4,
                    color=f'C{index}',
                    label=group if place == shift else None,
                )
        axis.axhline(0, color='grey', linewidth=0.8, zorder=0)
        axis.set_xticks(range(len(sets)), sets, rotation=20 if len(sets) > 2 else 0)
        axis.set_xlim(-0.6, len(sets) - 0.4)
    return _png(figure, axes)


def draw_validations(measures: List[Measure], groups: Dict[str, List[dict]]) -> bytes:
    """A PNG with a panel a measure: mean over the runs of each group by step, with a band of one standard deviation.

    Args:
        measures (list[tuple]): Test set and metric of each panel.
        groups (dict[str, list[dict]]): Group to the validations of its runs, step to (test set, metric) to value.
    """
    figure, axes = _panels(measures, [' '.join(measure) for measure in measures])
    for measure, axis in zip(measures, axes):
        for index, (group, runs) in enumerate(groups.items()):
            steps = sorted(step for step in runs[0] if all(measure in run.get(step, {}) for run in runs))
            levels = [Level.of([run[step][measure] for run in runs]) for step in steps]
            axis.plot(
                steps,
                [level.mean for level in levels],
                marker='o',
                markersize=3,
                color=f'C{index}',
                label=f'{group} (n={len(runs)})',
            )
            axis.fill_between(
                steps,
                *([level.mean + sign * (level.std or 0) for level in levels] for sign in (-1, 1)),
                color=f'C{index}',
                alpha=0.2,
                linewidth=0,
            )
        axis.set_xlabel('step')
    return _png(figure, axes)


def draw_curves(panels: Dict[str, Dict[str, List[Tuple[int, float]]]], path: str):
    """Writes panels of curves side by side.

    Args:
        panels (dict): Title to label to points (step, value).
        path (str): Picture to write.
    """
    figure = Figure(figsize=(5.2 * len(panels), 3.4 + 0.2 * max(map(len, panels.values()))), dpi=120)
    for axis, (title, curves) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels.items()):
        axis.set_prop_cycle(color=colormaps['tab10' if len(curves) <= 10 else 'tab20'].colors)
        for label, points in curves.items():
            axis.plot(*zip(*points), marker='o', markersize=3, label=label)
        axis.set_title(title, fontsize=11)
        axis.set_xlabel('step')
        axis.grid(alpha=0.3)
        axis.legend(loc='upper center', bbox_to_anchor=(0.5, -0.16), frameon=False, fontsize=9)
    write_whole(path, png_of(figure))


def png_of(figure: Figure) -> bytes:
    """A figure as the content of a PNG file."""
    figure.tight_layout()
    content = io.BytesIO()
    figure.savefig(content, format='png')
    return content.getvalue()


def as_squares(image: np.ndarray, scale: int) -> np.ndarray:
    """The image ``scale`` times as large, each pixel a square: what super-resolution starts from.

    Args:
        image (np.ndarray): (H, W, 3).
        scale (int): At least 1.
    """
    return image.repeat(scale, 0).repeat(scale, 1)


def draw_panel(rows: Dict[str, Dict[str, np.ndarray]], notes: Dict[str, Dict[str, str]] = None) -> np.ndarray:
    """Images side by side, with titles.

    Args:
        rows (dict[str, dict[str, np.ndarray]]): Row name to title to image, (H, W, 3), uint8, RGB; all rows have the
            same titles.
        notes (dict[str, dict[str, str]], optional): Row name to title to a line under that image.

    Returns:
        np.ndarray: (H', W', 3), uint8, RGB.
    """
    titles = list(next(iter(rows.values())))
    heights = [max(image.shape[0] / image.shape[1] for image in row.values()) for row in rows.values()]
    figure = Figure(figsize=(3.2 * len(titles), sum(3.2 * height + 0.45 for height in heights)), dpi=110)
    canvas = FigureCanvasAgg(figure)
    axes = figure.subplots(len(rows), len(titles), squeeze=False, height_ratios=heights)
    for index, (name, row) in enumerate(rows.items()):
        for title, axis in zip(titles, axes[index]):
            axis.imshow(row[title])
            axis.set_xticks([])
            axis.set_yticks([])
            axis.set_xlabel((notes or {}).get(name, {}).get(title, ''), fontsize=11)
            if index == 0:
                axis.set_title(title, fontsize=13)
    figure.tight_layout(pad=0.4)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def _panels(names, titles):
    columns = min(3, len(names))
    rows = -(-len(names) // columns)
    figure = Figure(figsize=(5.2 * columns, 3.8 * rows), dpi=120)
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for axis in axes[len(names) :]:
        axis.set_visible(False)
    for axis, title in zip(axes, titles):
        axis.set_title(title, fontsize=11)
        axis.grid(alpha=0.3)
    return figure, axes[: len(names)]


def _png(figure, axes) -> bytes:
    for axis in axes:
        axis.legend()
    return png_of(figure)
