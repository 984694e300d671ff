"""Carries trainings out: trains and tests with the tools of the project, and makes rows of what they wrote."""

import json
import math
import statistics
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Optional

from mmsampriors.experiments.trials import Processes, hardware
from mmsampriors.files import write_whole
from mmsampriors.reports import load_results, read_scalars

from .configs import test_sets, write_test, write_training
from .rows import Rows
from .trainings import RESTORED, Training


@dataclass
class Runs:
    """All that a training needs besides itself.

    Args:
        out (Path): Folder of the evidence; its pairs are made.
        processes (Processes): What runs the tools.
        rows (Rows): Where results go.
        part (str): Photographs to test on: ``held_out``, or the name of those for the final figures.
        judge (str): The segmenter that judges.
        checkpoint (str, optional): Of Meta's SAM.
    """

    out: Path
    processes: Processes
    rows: Rows
    part: str = 'held_out'
    judge: str = 'felzenszwalb'
    checkpoint: Optional[str] = None

    def folder(self, training: Training) -> Path:
        """Work folder of a training."""
        return self.out / 'runs' / training.name

    def is_done(self, training: Training) -> bool:
        """Whether its rows are there."""
        return self.rows.has(training.identity(), self.part, test_sets(training))

    def can_start(self, training: Training) -> bool:
        """Whether the checkpoint that it starts from is there, or it needs none."""
        return not training.first or self._checkpoint(training.plain(), training.first).is_file()

    def carry_out(self, training: Training):
        """Trains and tests where that is not done yet, and adds the rows."""
        if training.student == 'plain_same_time':
            training = replace(training, scale=self.cost_ratio(training))
        self._train(training)
        config, folder = self._config(training, f'test_{self.part}'), self._tested(training)
        write_test(config, training, self.out, folder / 'images', self.part, self.judge, self.checkpoint)
        command = ['tools/test.py', config, self._checkpoint(training), '--work-dir', folder]
        self.processes.run([*command, *(['--refined'] if training.distils else [])], folder.with_suffix('.log'))
        for name in test_sets(training):
            self.rows.add(self._row(training, name))

    def fill_masks(self, training: Training):
        """Computes the masks of a training's images, once for all that share them, and keeps how long it took."""
        timing = self._timing_of_masks(training)
        if training.masks in ('none', 'human', 'shuffled') or timing.is_file():
            return
        config = self.out / 'configs' / f'masks_{training.masks_name}.py'
        # The defaults: what a variant overrides fills a cache of its own when it trains.
        defaults = replace(training, overrides=())
        if not training.segments_restored:
            defaults = replace(defaults, student='spd', schedule='joint')
        write_training(config, defaults, self.out, self.checkpoint, self._start(training))
        begin = time.perf_counter()
        self.processes.run(['tools/cache_masks.py', config], timing.with_name(f'{timing.name}.log'))
        write_whole(str(timing), json.dumps(dict(seconds=time.perf_counter() - begin, hardware=hardware())) + '\n')

    # --------------------------------------------------------------------------------------------- cost

    def cost_ratio(self, baseline: Training) -> float:
        """Seconds of SPD over seconds of plain training, every stage and the masks counted.

        Where a finished network goes on, what it took to finish it counts for neither.
        """
        spd = baseline.distilled()
        iteration, stages = self.time(baseline.plain())[-1], self.time(spd)
        before = spd.first - baseline.first
        seconds = before * iteration + spd.refiner_iters * stages[0] + spd.student_iters * stages[-1]
        return (seconds + self._seconds_of_masks(spd)) / (replace(baseline, scale=1.0).iters * iteration)

    def time(self, training: Training) -> tuple:
        """Seconds an iteration, median, of the first half of a short run and of the second; two stages: of each.

        Kept in a file. To be called while nothing else runs.
        """
        # As many masks, wherever they are from.
        training = replace(training, seed=0, masks=training.masks.removesuffix(RESTORED))
        short = replace(training, updates=training.preset.timed)
        folder = self.out / 'timings' / training.name
        if not (folder / 'time.json').is_file():
            # Distillation from the first iteration on, or else from the first of its stage.
            schedule = (
                dict(type='TwoStageSchedule', refiner=0.5)
                if training.two_stage
                else dict(type='JointSchedule', begin=0.0, end=0.0)
            )
            overrides = (*training.overrides, ('model.spd.schedule', dict(_delete_=True, **schedule)))
            short = replace(short, schedule='joint', overrides=overrides) if training.distils else short
            config = self._config(training, 'time')
            write_training(config, short, self.out, self.checkpoint)
            # Validations and checkpoints would count as iterations, and there are many in so short a run.
            last = [f'{key}={short.iters}' for key in ('train_cfg.val_interval', 'default_hooks.checkpoint.interval')]
            command = ['tools/train.py', config, '--work-dir', folder, '--cfg-options', *last]
            self.processes.run(command, folder / 'train.log')
            # The last point is that of the validation.
            points = read_scalars(str(folder), 'time')[:-1]
            halves = [[seconds for step, seconds in points if (step > short.iters / 2) == late][1:] for late in (0, 1)]
            medians = list(map(statistics.median, halves))
            write_whole(str(folder / 'time.json'), json.dumps(dict(seconds=medians, hardware=hardware())) + '\n')
        return tuple(json.loads((folder / 'time.json').read_text())['seconds'])

    def _seconds_of_masks(self, training):
        timing = self._timing_of_masks(training)
        if training.segments_restored and not timing.is_file():
            raise RuntimeError(
                f'nobody knows how long the masks of {training.name} took, {timing} is missing: rows of '
                'other machines do not say. Train it here first'
            )
        return json.loads(timing.read_text())['seconds'] if timing.is_file() else 0.0

    def _timing_of_masks(self, training):
        return self.out / 'masks' / f'{training.masks_name}.json'

    # --------------------------------------------------------------------------------------------- one training

    def _train(self, training):
        folder, last, start = self.folder(training), self._checkpoint(training), self._start(training)
        if not (last.is_file() or self.can_start(training)):
            raise RuntimeError(f'{training.name} starts from {start}, and plain training has not got there')
        config = self._training_config(training, start)
        if last.is_file():
            return
        if training.distils:
            self.fill_masks(training)
        # With load_from mmengine would "resume" from that.
        resume = ['--resume', '--cfg-options', 'load_from=None'] if (folder / 'last_checkpoint').is_file() else []
        begin = time.perf_counter()
        try:
            self.processes.run(['tools/train.py', config, '--work-dir', folder, *resume], folder / 'train.log')
        finally:
            seconds = self._seconds(training) + time.perf_counter() - begin
            write_whole(str(folder / 'seconds.json'), json.dumps(seconds) + '\n')
        for file in folder.glob('iter_*.pth'):
            if file not in (last, self._checkpoint(training, round(training.preset.start * training.updates))):
                file.unlink()

    def _training_config(self, training, start):
        config = self._config(training, 'train')
        before = config.read_text() if config.is_file() else None
        write_training(config, training, self.out, self.checkpoint, start)
        if before not in (None, config.read_text()):
            write_whole(str(config), before)
            raise RuntimeError(
                f'{self.folder(training)} was trained with other settings than those of now (see '
                f'{config}): choose another --variant or --out, or remove both'
            )
        return config

    def _config(self, training, name):
        # Not in the work folder, where mmengine would write the config that it has read over it.
        return self.out / 'configs' / training.name / f'{name}.py'

    def _start(self, training):
        return str(self._checkpoint(training.plain(), training.first)) if training.first else None

    def _tested(self, training):
        return self.folder(training) / f'test_{self.part}'

    def _checkpoint(self, training, iters=None):
        return self.folder(training) / f'iter_{iters or training.iters}.pth'

    def _seconds(self, training):
        file = self.folder(training) / 'seconds.json'
        return json.loads(file.read_text()) if file.is_file() else 0.0

    def _row(self, training, name):
        folder = self._tested(training)
        results = {image: sets[name] for image, sets in load_results(str(folder)).items()}
        student, refined, own = results['student'], results.get('refined', {}), name == training.trained_on
        images = _images(folder / 'images' / f'{name}.json')
        return dict(
            training.identity(),
            test_on=self.part,
            test_set=name,
            psnr=student['PSNR'],
            ssim=student['SSIM'],
            segmentation=student.get('HumanIoU', student.get('SegIoU')),
            border_psnr=student.get('BorderPSNR'),
            refined_psnr=refined.get('PSNR'),
            refined_border_psnr=refined.get('BorderPSNR'),
            iters=training.total_iters,
            seconds=self._total_seconds(training),
            cost_ratio=round(training.scale, 4),
            hardware=hardware(),
            patch=training.preset.patch,
            batch=training.preset.batch,
            images=_psnr_by_name(images),
            refined_images=_psnr_by_name(_images(folder / 'images' / f'refined_{name}.json')),
            image_masks={
                image['name']: [image['masks'], round(image['coverage'], 4)] for image in images if 'masks' in image
            },
            curve=read_scalars(str(self.folder(training)), 'PSNR') if own else [],
            refined_curve=read_scalars(str(self.folder(training)), 'refined/PSNR') if own else [],
        )

    def _total_seconds(self, training):
        share = training.first / training.updates
        masks = self._seconds_of_masks(training) if training.distils else 0.0
        before = share * self._seconds(training.plain()) if share else 0.0
        return round(math.fsum((self._seconds(training), before, masks)), 1)


def _images(file):
    return json.loads(file.read_text()) if file.is_file() else []


def _psnr_by_name(images):
    return {image['name']: round(image['psnr'], 4) for image in images}
