"""What a training will do, found out without training: every refusal at once, the time and memory of a few steps."""

import itertools
import math
import resource
import statistics
import tempfile
import time
from datetime import timedelta
from functools import partial
from typing import Dict, List, NamedTuple, Tuple

import torch
from matplotlib.figure import Figure
from mmengine.config import Config
from mmengine.runner import Runner

from mmsampriors.checks.config_check import check_training
from mmsampriors.checks.config_parts import check_parts
from mmsampriors.checks.pair_check import check_data
from mmsampriors.checks.training_checks import CONFIG_CHECKS
from mmsampriors.command_line import message_of
from mmsampriors.datasets.stored_masks import ImagePaths, datasets_with_pipeline
from mmsampriors.files import MadeFiles
from mmsampriors.masks import ImageMasks, MaskCache, build_store
from mmsampriors.masks.store.cache import ImageFile
from mmsampriors.masks.store.fill import read_image
from mmsampriors.models import Phase
from mmsampriors.models.networks import unwrapped
from mmsampriors.reports import png_of, text_table

from .hooks import UnlabeledHook
from .launch import ConsoleRunner, check_work_dir

STEPS = 10  # that are timed, of each stage
MASKS = 64  # an image, in these steps
PICTURE = 'check.png'
SEGMENTED = 2  # images, to time the segmenter


class Stage(NamedTuple):
    """Consecutive iterations that train the same networks.

    Attributes:
        name (str): As in :attr:`mmsampriors.models.Phase.name`; ``plain`` without SPD.
        first (int): Its first iteration, from 0.
        iterations (int): How many.
        phase (Phase, optional): Of an iteration in its middle; None without SPD.
    """

    name: str
    first: int
    iterations: int
    phase: Phase = None


def problems_of(cfg: Config, images: bool = True) -> List[str]:
    """What training would refuse, all of it: each message once."""
    found, wrong_parts = [], False
    for check in (*CONFIG_CHECKS, check_work_dir, partial(check_data, images=images)):
        if check is check_training and wrong_parts:
            continue  # it builds them
        try:
            check(cfg)
        except Exception as error:  # what parts of others raise
            found.append(message_of(error))
            wrong_parts |= check is check_parts
    return list(dict.fromkeys(found))


def rehearse(cfg: Config) -> str:
    """The table of :func:`rehearsed`."""
    return rehearsed(cfg)[0]


def rehearsed(cfg: Config) -> Tuple[str, float]:
    """Takes a few steps of each stage, and estimates what the whole will cost.

    Nothing is written but a picture, ``check.png`` in the work folder: stages and learning rate over the iterations.

    Args:
        cfg (Config): One that :func:`problems_of` finds nothing wrong with.

    Returns:
        tuple: The table and what it rests on, and the seconds of the whole training.
    """
    MadeFiles(cfg.work_dir, 'train').refuse_changed([PICTURE])
    with tempfile.TemporaryDirectory() as folder:
        work_dir, cfg = cfg.work_dir, Config({**cfg.to_dict(), 'work_dir': folder, 'log_level': 'WARNING'})
        runner = ConsoleRunner.from_cfg(cfg)
        if cfg.get('load_from') and not cfg.get('resume'):
            runner.load_or_resume()  # which refuses weights of another network
        loop, model = runner.train_loop, unwrapped(runner.model)
        runner.optim_wrapper = runner.build_optim_wrapper(runner.optim_wrapper)
        stages = stages_of(model, runner.max_iters)
        rates = learning_rates(runner)
        unlabeled = next((hook for hook in runner.hooks if isinstance(hook, UnlabeledHook)), None)
        batches = itertools.chain.from_iterable(itertools.repeat(loop.dataloader))
        seconds = {stage.name: _seconds_a_step(runner, batches, model, stage, unlabeled) for stage in stages}
        masks = _cost_of_masks(model, loop.dataloader.dataset)
    _draw(stages, rates, work_dir)
    rows = [
        [
            stage.name,
            str(stage.iterations),
            f'{rates[stage.first]:.2e} to {rates[stage.first + stage.iterations - 1]:.2e}',
            f'{seconds[stage.name]:.3f}',
            _clock(seconds[stage.name] * stage.iterations),
        ]
        for stage in stages
    ]
    total = sum(seconds[stage.name] * stage.iterations for stage in stages)
    if masks is not None:
        missing, each = masks
        rows.append(['masks', f'{missing} images', '', f'{each:.3f}', _clock(missing * each)])
        total += missing * each
    rows.append(['total', '', '', '', _clock(total)])
    text = (
        f'{text_table(["stage", "iterations", "learning rate", "seconds each", "time"], rows)}\n\n'
        f'Peak memory: {_peak_memory()}. Medians of {STEPS} steps with {MASKS} masks an image; validations are not '
        f'counted.\nIn {work_dir}: {PICTURE}'
    )
    return text, total


def stages_of(model, max_iters: int) -> List[Stage]:
    """The stages of a training in their order."""
    schedule = getattr(model, 'schedule', None)
    if schedule is None:
        return [Stage('plain', 0, max_iters)]
    stages, first = [], 0
    names = (schedule.phase(iteration, max_iters).name for iteration in range(max_iters))
    for name, group in itertools.groupby(names):
        count = sum(1 for _ in group)
        stages.append(Stage(name, first, count, schedule.phase(first + count // 2, max_iters)))
        first += count
    return stages


def learning_rates(runner: Runner) -> List[float]:
    """The learning rate of each iteration. Leaves the optimizer at the rate of the last one."""
    schedulers = runner.build_param_scheduler(runner.param_schedulers) if runner.param_schedulers else []
    rates = []
    for _ in range(runner.max_iters):
        rates.append(runner.optim_wrapper.get_lr()['lr'][0])
        for scheduler in schedulers:
            if not scheduler.by_epoch:
                scheduler.step()
    return rates


def _seconds_a_step(runner, batches, model, stage, unlabeled) -> float:
    """Median seconds of a step; the optimizer takes steps of no size."""
    for group in runner.optim_wrapper.param_groups:
        group['lr'] = 0.0
    if stage.phase is not None:
        model.prepare(next(model.parameters()).device)
        model.enter(stage.phase)
    runner.model.train()
    taken = []
    for _ in range(STEPS + 1):
        batch = next(batches)
        if unlabeled is not None and stage.phase.ramp > 0:
            model.unlabeled_weight, model.unlabeled_cascade = unlabeled.weight, unlabeled.cascade
            # The most that are added to any batch: memory has to suffice for that.
            batch = _with_unlabeled(batch, math.ceil(unlabeled.per_pair * len(batch['inputs'])))
        for sample in batch['data_samples']:
            if stage.phase is not None and 'masks' not in sample:
                sample.set_field(_boxes(*sample.gt_img.shape[-2:]), 'masks')
        begin = time.perf_counter()
        runner.model.train_step(batch, optim_wrapper=runner.optim_wrapper)
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        taken.append(time.perf_counter() - begin)
    return statistics.median(taken[1:])


def _with_unlabeled(batch: dict, count: int) -> dict:
    """A batch with ``count`` more images that have no ground truth; they are copies of its own."""
    inputs, samples = list(batch['inputs']), list(batch['data_samples'])
    numbers = [*range(len(inputs)), *(number % len(inputs) for number in range(count))]
    # All made alike: they are stacked only where their keys come in one order, and these are sets.
    copies = [samples[number].new() for number in numbers]
    for place, sample in enumerate(copies):
        sample.set_metainfo(dict(labelled=place < len(inputs)))
    return dict(batch, inputs=[inputs[number] for number in numbers], data_samples=copies)


def _boxes(height: int, width: int) -> ImageMasks:
    """``MASKS`` boxes at random places: what they are does not change what a step costs."""
    rows, columns = torch.arange(height)[:, None], torch.arange(width)
    corners = torch.rand(MASKS, 4)
    masks = [
        (rows >= top * height * 0.7)
        & (rows < (top * 0.7 + 0.1 + high * 0.2) * height)
        & (columns >= left * width * 0.7)
        & (columns < (left * 0.7 + 0.1 + wide * 0.2) * width)
        for top, left, high, wide in corners.tolist()
    ]
    return ImageMasks.from_masks(torch.stack(masks))


def _cost_of_masks(model, dataset) -> Tuple[int, float]:
    """Images whose masks are missing, and seconds each; None where no masks are computed before training."""
    source = getattr(model, 'mask_source', None)
    if source is None or not source.stored or source.segmenter is None:
        return None
    device, missing, seconds = next(model.parameters()).device, 0, []
    for part in datasets_with_pipeline(dataset):
        store = build_store(source.store(part.data_root))
        paths = ImagePaths(part, source.image_key)
        if isinstance(store, MaskCache):
            wanted = [path for path in dict.fromkeys(paths) if not store.check(path)]
            missing += len(wanted)
            for path in wanted[: SEGMENTED - len(seconds)]:
                image = read_image(ImageFile(path)).to(device)
                begin = time.perf_counter()
                source.segment(image[None], [path])
                seconds.append(time.perf_counter() - begin)
    return missing, statistics.median(seconds) if seconds else 0.0


def _draw(stages: List[Stage], rates: List[float], work_dir: str):
    figure = Figure(figsize=(7, 3), dpi=120)
    axis = figure.subplots()
    every = max(1, len(rates) // 2000)
    axis.plot(range(0, len(rates), every), rates[::every], color='black')
    colours: Dict[str, str] = {}
    for stage in stages:
        colour = colours.setdefault(stage.name, f'C{len(colours)}')
        axis.axvspan(stage.first, stage.first + stage.iterations, color=colour, alpha=0.25, label=stage.name)
    axis.set(xlabel='iteration', ylabel='learning rate', xlim=(0, len(rates)))
    handles = dict(zip(*reversed(axis.get_legend_handles_labels())))
    axis.legend(handles.values(), handles.keys())
    MadeFiles(work_dir, 'train').write(PICTURE, png_of(figure))


def _peak_memory() -> str:
    if torch.cuda.is_available():
        return f'{torch.cuda.max_memory_allocated() / 2**30:.1f} GiB of the device'
    return f'{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.1f} GiB of the process'


def _clock(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds)))
