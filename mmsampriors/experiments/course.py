"""Trains and tests the trials of a comparison, several side by side, and goes on where it was cut off."""

import json
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import List

from mmengine.config import Config

from mmsampriors.files import write_whole
from mmsampriors.registry import is_a

from .processes import Processes
from .rivals import Trial


def run_trials(trials: List[Trial], processes: Processes, out: Path) -> float:
    """Carries out what is not done yet.

    Args:
        trials (list[Trial]): What is to be trained and tested.
        processes (Processes): What runs the tools.
        out (Path): Folder of the comparison.

    Returns:
        float: Seconds that stored masks took, once for all.

    Raises:
        RuntimeError: A tool failed; the others are done.
    """
    seconds = _fill_masks(next(trial for trial in trials if trial.rival == 'spd'), processes, out)
    with ThreadPoolExecutor(processes.count) as pool:
        futures = [pool.submit(_carry_out, trial, processes) for trial in trials]
        try:
            failures = [future.exception() for future in as_completed(futures) if future.exception()]
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            processes.stop()
            raise
    if failures:
        raise RuntimeError('\n\n'.join(map(str, failures)))
    return seconds


def _fill_masks(trial, processes, out):
    """Before any training, so that none of them waits for masks and all of that time is known."""
    timing = out / 'masks.json'
    if not is_a(Config.fromfile(trial.config).model.spd.masks, 'CachedMasks'):
        return 0.0
    if not timing.is_file():
        begin = time.perf_counter()
        processes.run(['tools/cache_masks.py', trial.config], out / 'masks.log')
        write_whole(str(timing), json.dumps(dict(seconds=time.perf_counter() - begin)) + '\n')
    return json.loads(timing.read_text())['seconds']


def _carry_out(trial: Trial, processes: Processes):
    if not trial.checkpoint.is_file():
        # With load_from mmengine would "resume" from that.
        begun = (trial.work_dir / 'last_checkpoint').is_file()
        resume = ['--resume', '--cfg-options', 'load_from=None'] if begun else []
        processes.run(['tools/train.py', trial.config, *resume], trial.work_dir / 'train.log')
    tested = trial.work_dir / 'test'
    if not (tested / 'test_results.json').is_file():
        command = ['tools/test.py', trial.config, trial.checkpoint, '--work-dir', tested]
        processes.run(command, trial.work_dir / 'test.log')
