"""Measures what a training step of SPD costs beside the plain mmagic step, and beside its own parts alone.

Prints one JSON object a line (a table without ``--json``). All steps and parts take turns in one run, so that a busy
machine hurts them alike; ``ratio`` is the median over the turns. Rows ``step/...`` compare with the plain step. Rows
``parts of ...`` say how long the parts of a step take one after the other; their ratio is the step's time over that.
Row ``loader`` compares the loader's rate with the joint step's. With ``--idle`` rows ``device waits for the host`` say
for which share of several steps in a row nothing runs on the GPU. Memory is the peak of tensors: weights, the
optimizer's state of what trains, and what the step adds. In ``joint, checkpointed`` CheckpointActivationsHook is at
work.

    python .dev_scripts/benchmarks/train_step.py --json                           # two CPU cores
    python .dev_scripts/benchmarks/train_step.py --json --models edsr --patch-sizes 48
    python .dev_scripts/benchmarks/train_step.py --json --models nafnet --patch-sizes 256 --batch 8 --rounds 5 \
        --workers 8 --device cuda --dtypes float32 bfloat16 --online tiny vit_b  # one GPU
"""

import argparse
import copy
import tempfile
from pathlib import Path
from types import SimpleNamespace

# First: it puts the checkout on sys.path and mends mmagic.
from report import Clock, Report, ratio

from measure import SUBJECTS, Task, bytes_of, device_idle_share  # isort: skip
from measure import interleaved, subject_config, peak_bytes, quiet  # isort: skip

import cv2
import mask_cache
import mask_engine
import numpy as np
import torch
from mmengine.dataset import Compose, pseudo_collate
from mmengine.optim import OptimWrapper, build_optim_wrapper
from mmengine.registry import init_default_scope
from torch.utils.data import DataLoader, Dataset

import mmsampriors.datasets.transforms  # noqa: F401
import mmsampriors.models  # noqa: F401
from mmsampriors.compat.config_options import ConfigOptions
from mmsampriors.data_preparation.degradations import bicubic_reduced
from mmsampriors.datasets.mask_pipeline import with_spd_masks
from mmsampriors.engine.export import stock_model
from mmsampriors.engine.hooks.schedule import drop_frozen_state
from mmsampriors.engine.hooks.speed import blocks_of, checkpoint_blocks
from mmsampriors.engine.optim import ClipByOwner, keep_freed_memory
from mmsampriors.masks import ImageFile, ImageMasks, MaskCache, MaskEngine, build_sam
from mmsampriors.masks.sam.tiny import TINY_AUTOMATIC
from mmsampriors.models import Phase, Regions
from mmsampriors.models.mask_sources import MaskSource
from mmsampriors.registry import MODELS

PHASES = {
    'joint': Phase(student=True, refiner=True, ramp=1.0),
    'refiner stage': Phase(student=False, refiner=True, ramp=0.0),
    'student stage': Phase(student=True, refiner=False, ramp=1.0),
}
PARTS = {
    'joint': ('student', 'spf', 'refiner', 'feature_extractor', 'sgr', 'optimizer of joint'),
    'refiner stage': ('student forward', 'spf', 'refiner', 'optimizer of refiner stage'),
    'student stage': (
        'student',
        'student forward',
        'spf forward',
        'refiner forward',
        'feature_extractor',
        'sgr',
        'optimizer of student stage',
    ),
}


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--models', nargs='+', default=['nafnet', 'restormer'], choices=list(SUBJECTS))
    parser.add_argument(
        '--patch-sizes', nargs='+', type=int, default=[128], help='sides of what the student takes, in pixels'
    )
    parser.add_argument(
        '--cfg-options', nargs='+', action=ConfigOptions, default={}, metavar='KEY=VALUE', help='changes of the configs'
    )
    parser.add_argument('--batch', type=int, default=1, help='images a step')
    parser.add_argument('--dtypes', nargs='+', default=['float32'], help='float32, or one to autocast to')
    parser.add_argument(
        '--online',
        nargs='*',
        default=['tiny'],
        metavar='SAM',
        help='whose masks the online step takes: tiny, or small, vit_b, vit_h with random weights',
    )
    parser.add_argument(
        '--idle', action='store_true', help='also the share of time in which a GPU waits for the host, by the profiler'
    )
    parser.add_argument('--rounds', type=int, default=3)
    parser.add_argument('--images', type=int, default=4, help='photographs for the loader')
    parser.add_argument('--workers', type=int, default=0, help='of the loader')
    parser.add_argument('--device', default='cpu')
    parser.add_argument('--threads', type=int, default=2)
    parser.add_argument(
        '--cpu-seconds', action='store_true', help='CPU seconds of this process, for a machine that others use too'
    )
    parser.add_argument('--json', action='store_true')
    return parser.parse_args()


class Samples(Dataset):
    """Noisy photographs with stored masks, without end; ``scale`` times smaller than their ground truth."""

    def __init__(self, root: Path, count: int, patch: int, scale: int = 1):
        cache = MaskCache(root / 'cache', mask_cache.SETTINGS, data_root=root)
        self.files = []
        for index, image in enumerate(mask_cache.photographs('', count)):
            image = np.ascontiguousarray(image[: len(image) // scale * scale, : image.shape[1] // scale * scale])
            files = {f'{key}_path': str(root / f'{key}{index}.png') for key in ('img', 'gt')}
            small = bicubic_reduced(image.astype(float), scale) if scale > 1 else image
            noise = np.random.default_rng(index).normal(0, 25, small.shape)
            cv2.imwrite(files['gt_path'], image)
            cv2.imwrite(files['img_path'], np.clip(small + noise, 0, 255).astype(np.uint8))
            cache.save(ImageFile(files['gt_path']), mask_cache.masks_of(image))
            self.files.append(files)
        store = dict(type='MaskCache', cache_dir=str(root / 'cache'), settings=mask_cache.SETTINGS, data_root=str(root))
        sizes = dict(gt_patch_size=scale * patch, dictionary=dict(scale=scale))
        pipeline = [{key: sizes.get(key, value) for key, value in step.items()} for step in mask_cache.PIPELINE]
        self.pipeline = Compose(with_spd_masks(pipeline, store))

    def __len__(self):
        return 1_000_000

    def __getitem__(self, index):
        return self.pipeline(dict(self.files[index % len(self.files)]))


class Autocast(OptimWrapper):
    """mmengine's AmpOptimWrapper without its scaler, which neither float32 nor bfloat16 needs, and for any device."""

    def __init__(self, context, **kwargs):
        super().__init__(**kwargs)
        self.context = context

    def optim_context(self, model):
        return self.context()


class EngineMasks(MaskSource):
    """Online masks of an engine that is there already."""

    def __init__(self, engine: MaskEngine):
        self.engine = engine

    def segment(self, images, paths=()):
        return self.engine.generate(images)


class Bench:
    """A plain model and an SPD model of one config, with a batch, on the device."""

    def __init__(self, cfg, batch: dict, device: str, dtype: torch.dtype):
        self.device, self.dtype, self.batch = torch.device(device), dtype, batch
        self.plain = MODELS.build(stock_model(cfg.model)).to(device).train()
        self.spd = MODELS.build(cfg.model).to(device).train()
        self.stored_masks, self.initial_student = self.spd.mask_source, self.spd.initial_student
        self.plain_wrapper, self.wrapper = (self._optimizer(cfg, model) for model in (self.plain, self.spd))
        if self.wrapper.clip_grad_kwargs:
            self.wrapper.clip_func = ClipByOwner(self.spd, self.wrapper.clip_func)
        data = self.spd.data_preprocessor(copy.deepcopy(batch), True)
        self.inputs, self.samples = data['inputs'], data['data_samples']
        self.gt = self.samples.gt_img
        self.restored = self.gt  # of its size

    def _optimizer(self, cfg, model):
        optimizer = {**cfg.optim_wrapper.optimizer, 'lr': 1e-9}  # the images stay images
        settings = {**cfg.optim_wrapper, 'type': Autocast, 'optimizer': optimizer, 'context': self.precision}
        settings.pop('_scope_', None)
        return build_optim_wrapper(model, settings)

    def precision(self):
        return torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32)

    # ------------------------------------------------------------------------------------------------ whole steps

    def steps(self) -> dict:
        """Task of the plain step, of each phase, and of the joint one with activations checkpointed."""
        plain, joint = self._step(self.plain, self.plain_wrapper, lambda: None), self.step('joint', checkpointed=True)
        return {'plain': plain, **{phase: self.step(phase) for phase in PHASES}, 'joint, checkpointed': joint}

    def trained(self, task: str) -> tuple:
        """Model and optimizer wrapper of a step."""
        return (self.plain, self.plain_wrapper) if task == 'plain' else (self.spd, self.wrapper)

    def step(self, phase: str, source: MaskSource = None, checkpointed: bool = False) -> Task:
        """With the masks of the batch, or those of a source."""

        def enter():
            # JointSchedule keeps no student of before.
            self.spd.initial_student = None if phase == 'joint' else self.initial_student
            self.spd.enter(PHASES[phase])
            self._checkpoint(checkpointed)
            self.spd.mask_source = source or self.stored_masks
            if source:
                for sample in self.copied['data_samples']:
                    del sample.masks

        return self._step(self.spd, self.wrapper, enter)

    def _checkpoint(self, wanted):
        for block in (*blocks_of(self.spd.generator), *blocks_of(self.spd.refiner)):
            vars(block).pop('forward', None)
        if wanted:
            checkpoint_blocks(self.spd)

    def _step(self, model, wrapper, enter):

        def before():
            self.copied = copy.deepcopy(self.batch)  # masks are drawn once a sample
            enter()

        return Task(lambda: model.train_step(self.copied, wrapper), before)

    # ------------------------------------------------------------------------------------------------ parts alone

    def parts(self) -> dict:
        """Task of each part, by the names of PARTS."""
        spd, inputs, restored = self.spd, self.inputs, self.restored
        tasks = {
            'student': self._network(spd.generator, inputs),
            'student forward': self._forward(lambda: spd.generator(inputs), 'refiner stage'),
            'refiner': self._network(spd.refiner, restored),
            'refiner forward': self._forward(lambda: spd.refiner(restored), 'student stage'),
            'spf': self._in_phase(lambda: self._fused().sum().backward()),
            'spf forward': self._forward(self._fused, 'student stage'),
            'masks': Task(lambda: [of_image.bitmaps for of_image in self.fresh], self._enter('joint')),
            'feature_extractor': self._in_phase(self._extract),
            'feature extractor forward': self._in_phase(lambda: self._features(restored.clone().requires_grad_())),
            'sgr': self._relations(self.samples.masks),
        }
        return {**tasks, **{f'optimizer of {phase}': self._optimize(phase) for phase in PHASES}}

    def relations_of_64(self) -> Task:
        """SGR's pooling and relations for 64 masks an image, forward."""
        masks = [ImageMasks.from_masks(discs(64, *self.restored.shape[-2:]).to(self.device)) for _ in self.restored]
        regions = self._stacked(masks)
        prediction, target = self._features(self.restored).requires_grad_(), self._features(self.restored + 0.1)
        return Task(lambda: self._sgr(prediction, target, regions))

    def _sgr(self, restored, refined, regions) -> dict:
        """The losses on the relations of two images' features."""
        weights = restored.new_full((len(restored),), 1 / len(restored))
        batch = SimpleNamespace(features=lambda: (restored, refined), regions=regions, image_weights=weights)
        return self.spd.losses['sgr'](batch)

    def _stacked(self, masks) -> Regions:
        """As SPF leaves them to SGR."""
        regions = Regions(masks, self.restored)
        regions.stacked  # made where it is first read
        return regions

    def _enter(self, phase):

        def enter():
            self.spd.enter(PHASES[phase])
            self._checkpoint(False)
            self.spd.zero_grad()
            self.fresh = copy.deepcopy(self.samples.masks)

        return enter

    def _in_phase(self, run, phase='joint') -> Task:
        return Task(run, self._enter(phase))

    def _forward(self, run, phase) -> Task:

        def forward():
            with torch.no_grad(), self.precision():
                run()

        return self._in_phase(forward, phase)

    def _network(self, network, images) -> Task:

        def run():
            with self.precision():
                loss = self.spd.pixel_loss(network(images).float(), self.gt)
            loss.backward()

        return self._in_phase(run)

    def _fused(self):
        with self.precision():
            return self.spd.spf(self.restored, Regions(self.fresh, self.restored))

    def _features(self, images):
        return self.spd.feature_extractor(self.spd.to_rgb(images, self.samples))

    def _extract(self):
        prediction = self._features(self.restored.clone().requires_grad_())
        with torch.no_grad():
            target = self._features(self.gt)
        prediction.backward(target)

    def _relations(self, masks) -> Task:
        regions = self._stacked(copy.deepcopy(masks))
        prediction, target = self._features(self.restored), self._features(self.gt + 0.1)

        def run():
            sum(self._sgr(prediction.clone().requires_grad_(), target, regions).values()).backward()

        return self._in_phase(run)

    def _optimize(self, phase) -> Task:
        self.spd.enter(PHASES[phase])
        gradients = [
            (parameter, torch.full_like(parameter, 1e-9))
            for parameter in self.spd.parameters()
            if parameter.requires_grad
        ]

        def before():
            for parameter, gradient in gradients:
                parameter.grad = gradient

        def run():
            self.wrapper.step()
            self.wrapper.zero_grad()

        return Task(run, before)


def discs(count: int, height: int, width: int) -> torch.Tensor:
    """(count, H, W), bool: discs of all sizes and places."""
    random = np.random.default_rng(0)
    y, x, radius = random.random((3, count, 1, 1))
    y, x, radius = y * height, x * width, radius * min(height, width) / 2
    rows, columns = np.mgrid[:height, :width]
    return torch.from_numpy((rows - y) ** 2 + (columns - x) ** 2 <= (radius + 2) ** 2)


def engine_of(name: str, device: str, dtype: torch.dtype, images: list) -> MaskEngine:
    """The fast engine. Random weights pass a tenth of the prompts."""
    if name == 'tiny':
        return MaskEngine.fast(build_sam('tiny').to(device), dtype=dtype, **TINY_AUTOMATIC)
    sam, _ = mask_engine.get_sam(name, {}, device)
    return MaskEngine.fast(sam, dtype=dtype, **mask_engine.random_thresholds(sam, images, 16, 0.1))


def loader_seconds(samples: Samples, args, batches: int) -> list:
    """Seconds a batch, after those that the workers had ready."""
    loader = iter(DataLoader(samples, args.batch, num_workers=args.workers, collate_fn=pseudo_collate))
    for _ in range(2 * args.workers + 1):
        next(loader)
    clock = Clock('cpu')
    return [clock(lambda: [next(loader) for _ in range(batches)]) / batches for _ in range(args.rounds)]


def measure_steps(report: Report, bench: Bench, name: str, args) -> dict:
    """Rows of time; returns the seconds of every task."""
    steps = bench.steps()
    images = [image.to(torch.uint8) for image in bench.batch['inputs']]
    sources = {sam: EngineMasks(engine_of(sam, args.device, bench.dtype, images)) for sam in args.online}
    online = {f'online, {sam}': bench.step('joint', source) for sam, source in sources.items()}
    tasks = {**steps, **online, **bench.parts()}
    tasks['sgr of 64 masks, forward'] = bench.relations_of_64()
    seconds = interleaved(tasks, Clock(args.device, args.cpu_seconds), args.rounds)
    for task, values in seconds.items():
        kind, more = 'step' if task in steps or task in online else 'part', {}
        if kind == 'step' and task != 'plain':
            more = dict(ratio=ratio(values, seconds['plain']))
        elif task.startswith('sgr of'):
            more = dict(ratio=ratio(values, seconds['feature extractor forward']), to='feature extractor forward')
        if task in online:
            found = sources[task.split()[-1]].segment(bench.spd.to_rgb(bench.gt, bench.samples).clamp(0, 1))
            more['masks'] = sum(map(len, found)) / len(found)
        report(f'{name}/{kind}/{task}', values, 's', **more)
    for phase, names in PARTS.items():
        total = [sum(turn) for turn in zip(*(seconds[part] for part in names))]
        report(f'{name}/parts of {phase}', total, 's', ratio=ratio(seconds[phase], total), parts=' + '.join(names))
    return seconds


def measure_idle(report: Report, bench: Bench, name: str, args, steps: int = 8):
    """Rows of the share of time in which the GPU waits for the host, over steps on batches that are there already."""
    for task, step in bench.steps().items():
        model, wrapper = bench.trained(task)

        def run(batches):
            for batch in batches:
                model.train_step(batch, wrapper)

        shares = []
        for _ in range(args.rounds + 1):
            step.before()
            batches = [copy.deepcopy(bench.batch) for _ in range(steps)]
            shares.append(device_idle_share(lambda: run(batches)))
        report(f'{name}/device waits for the host/{task}', shares[1:], 'share of time')  # the first one warms up


def measure_memory(report: Report, bench: Bench, name: str, args):
    """Rows of memory."""
    tools = bytes_of(bench.spd.feature_extractor.build(bench.device)) if bench.spd.feature_extractor else 0
    plain = None
    for task, step in bench.steps().items():
        step.before()
        drop_frozen_state(bench.wrapper.optimizer)  # as SPDScheduleHook does when a stage begins
        model, wrapper = bench.trained(task)
        added = peak_bytes(step, args.device)
        states = wrapper.optimizer.state.values()
        moments = [tensor for state in states for tensor in state.values() if isinstance(tensor, torch.Tensor)]
        held = bytes_of(model) + sum(tensor.nbytes for tensor in moments) + (0 if task == 'plain' else tools)
        total = (held + added) / 1e6
        plain = plain or total
        report(f'{name}/peak memory/{task}', [total], 'MB', ratio=total / plain, added_by_step=added / 1e6)
    relations, extractor = (
        peak_bytes(task, args.device) for task in (bench.relations_of_64(), bench.parts()['feature extractor forward'])
    )
    report(
        f'{name}/peak memory/sgr of 64 masks, forward',
        [relations / 1e6],
        'MB',
        ratio=relations / extractor,
        to='feature extractor forward',
    )


def main():
    args = parse_args()
    keep_freed_memory()  # as tools/train.py does
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    init_default_scope('mmagic')
    report = Report(args.json, args.device)
    for patch in args.patch_sizes:
        for model in args.models:
            cfg = subject_config(model)
            cfg.merge_from_dict(args.cfg_options)
            with tempfile.TemporaryDirectory() as folder:
                samples = Samples(Path(folder), args.images, patch, cfg.get('scale', 1))
                batch = pseudo_collate([samples[index] for index in range(args.batch)])
                loading = loader_seconds(samples, args, batches=8)
            counts = [len(sample.masks) for sample in copy.deepcopy(batch['data_samples'])]
            report(f'train_step/{model}/masks a patch of {patch}', counts, 'masks')
            for dtype in args.dtypes:
                name = f'train_step/{model}/{patch}x{args.batch}/{dtype}'
                with quiet():
                    bench = Bench(cfg, batch, args.device, getattr(torch, dtype))
                measure_memory(report, bench, name, args)
                seconds = measure_steps(report, bench, name, args)
                if args.idle and torch.device(args.device).type == 'cuda':
                    measure_idle(report, bench, name, args)
                rates = [args.batch / value for value in loading]
                report(
                    f'{name}/loader, {args.workers} workers',
                    rates,
                    'samples/s',
                    ratio=ratio(seconds['joint'], loading),
                    to='joint',
                )


if __name__ == '__main__':
    main()
