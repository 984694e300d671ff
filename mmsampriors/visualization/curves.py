"""Curves of runs, from the scalars that mmengine's LocalVisBackend writes."""
import glob
import json
import os.path as osp
from typing import Dict, List, Tuple

from matplotlib import colormaps
from matplotlib.figure import Figure


def read_scalars(work_dir: str, name: str) -> List[Tuple[int, float]]:
    """Steps and values of one scalar of a run, over all its resumptions; a later value of a step wins.

    Args:
        work_dir (str): Work folder of the run.
        name (str): The scalar, such as ``PSNR`` or ``student.loss_recon``.
    """
    values = {}
    for file in sorted(glob.glob(osp.join(glob.escape(work_dir), '*', 'vis_data', 'scalars.json'))):
        with open(file) as lines:
            for line in lines:
                record = json.loads(line)
                if name in record:
                    values[record['step']] = record[name]
    return sorted(values.items())


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
    figure.tight_layout()
    figure.savefig(path)
