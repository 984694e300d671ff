"""The summary of an experiment: the gain of SPD, and its cost."""

import statistics
from pathlib import Path
from typing import Dict, List, NamedTuple, Optional

from mmsampriors.files import MadeFiles
from mmsampriors.models.schedules import STAGES
from mmsampriors.reports import (
    Interval,
    compare_runs,
    draw_differences,
    gather,
    markdown_table,
    paired_t,
    read_scalars,
    read_tested,
    show_value,
)

from .baselines import BASELINES, Trial

#: What :func:`summarize` writes.
FILES = ('summary.md', 'summary.png')


class Summary(NamedTuple):
    """A sentence a test set, and the table of all measures, in markdown."""

    sentence: str
    table: str


def summarize(trials: List[Trial], out: Path, seconds_of_masks: float = 0.0) -> Summary:
    """Reads what was trained and tested, and writes ``summary.md`` and ``summary.png``.

    Args:
        trials (list[Trial]): All baselines at all seeds, tested. ``self`` may be missing.
        out (Path): Folder.
        seconds_of_masks (float): What stored masks took, once for all seeds.

    Raises:
        FileExistsError: A file is there that this did not write, or that was changed since.
    """
    named = [(BASELINES[trial.baseline], str(trial.seed), str(trial.work_dir / 'test')) for trial in trials]
    runs = gather(sorted(named, key=lambda run: list(BASELINES.values()).index(run[0])), read_tested)
    cells, _ = compare_runs(runs)
    values = {(run.group, run.seed): run.values for run in runs}
    seeds = sorted({str(trial.seed) for trial in trials}, key=int)
    cost = cost_of(trials, seconds_of_masks)
    metric = 'PSNR' if any(cell.metric == 'PSNR' for cell in cells) else cells[0].metric
    known = {trial.baseline for trial in trials}

    def above(baseline, test_set):
        differences = [
            values[BASELINES['spd'], seed][test_set, metric] - values[BASELINES[baseline], seed][test_set, metric]
            for seed in (seeds if baseline in known else [])
        ]
        return paired_t(differences) if differences else None

    sentences = []
    for test_set in dict.fromkeys(cell.test_set for cell in cells if cell.metric == metric):
        sentences.append(
            sentence_of(test_set, metric, *(above(baseline, test_set) for baseline in ('plain', 'self')), cost)
        )
    lines = [
        [
            cell.test_set,
            cell.metric,
            cell.group,
            str(len(cell.values)),
            show_value(cell.metric, cell.level.mean),
            str(cell.difference or ''),
        ]
        for cell in cells
    ]
    table = markdown_table(['test set', 'metric', 'student', 'n', 'mean', '− plain'], lines)
    summary = Summary('\n'.join(sentences), table)
    made = MadeFiles(out, 'does_it_help')
    made.write(FILES[0], f'{summary.sentence}\n\n{table}\n')
    made.write(FILES[1], draw_differences(cells))
    return summary


def sentence_of(test_set: str, metric: str, gain: Interval, masks: Optional[Interval], cost: float) -> str:
    """The summary on one test set.

    Args:
        test_set (str): Its name.
        metric (str): What was measured.
        gain (Interval): SPD minus plain, over the seeds.
        masks (Interval, optional): SPD minus distillation without masks; None where the config has no masks.
        cost (float): Seconds of SPD over seconds of plain training.
    """
    unit = ' dB' if 'PSNR' in metric else f' of {metric}'
    price = f'it costs {cost:.1f} times plain training'
    if gain.low is None:
        text = f'SPD is {gain.mean:+.3f}{unit} from plain training on {test_set}, and one seed shows no more than that'
    elif gain.low <= 0 <= gain.high:
        text = f'SPD neither helps nor harms on {test_set} as far as these seeds show: {gain}{unit}'
    else:
        verb, amount = ('gains', gain) if gain.mean > 0 else ('loses', Interval(-gain.mean, -gain.high, -gain.low))
        text = f'SPD {verb} {amount.mean:.3f}{unit} [{amount.low:.3f}, {amount.high:.3f}] on {test_set}'
    part = f'masks are {masks} of it' if masks else 'the config has no masks'
    return f'{text}; {part}; {price}.'


def cost_of(trials: List[Trial], seconds_of_masks: float = 0.0) -> float:
    """Seconds of SPD over seconds of plain training, whose refiner's stage counts for nothing.

    From the medians that the logs of the runs say. They are comparable where the runs had the device alike.
    """
    plain = [seconds_by_stage(trial) for trial in trials if trial.baseline == 'plain']
    spd = [seconds_by_stage(trial) for trial in trials if trial.baseline == 'spd']
    # Iterations of all stages but the refiner's: those in which the student trains.
    student = sum(seconds for run in plain for stage, seconds in run.items() if stage != 'refiner')
    return (sum(sum(run.values()) for run in spd) + seconds_of_masks) / student


def seconds_by_stage(trial: Trial) -> Dict[str, float]:
    """Stage to its seconds: the median of a step times its iterations.

    Raises:
        FileNotFoundError: The log has no times.
    """
    stages, times = (dict(read_scalars(str(trial.work_dir), name)) for name in ('spd.stage', 'time'))
    steps = sorted(stages.keys() & times.keys())
    if not steps:
        raise FileNotFoundError(f'{trial.work_dir} has no log of a training: no */vis_data/scalars.json with times')
    seconds, counts, before = {}, {}, 0
    for step in steps:
        stage = STAGES[round(stages[step])]
        seconds.setdefault(stage, []).append(times[step])
        counts[stage] = counts.get(stage, 0) + step - before
        before = step
    return {stage: statistics.median(values) * counts[stage] for stage, values in seconds.items()}
