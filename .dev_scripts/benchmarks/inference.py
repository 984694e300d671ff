"""Measures an exported student beside the stock mmagic model of the same config: both should be the same.

An SPD model is built from a config of ours, and its student exported and loaded as a user would. The stock model is
built from mmagic's own config (of the ``-tiny`` subjects, which mmagic lacks, from the same network config) and gets
the student's weights. Prints one JSON object a line (a table without ``--json``); ``ratio`` is the exported student's
figure over the stock model's, of times the median over turns in which both ran.

    python .dev_scripts/benchmarks/inference.py --json                                             # two CPU cores
    python .dev_scripts/benchmarks/inference.py --json --device cuda --dtypes float32 bfloat16 \
        --size 512 512 --rounds 30
"""

import argparse
import tempfile
from pathlib import Path

# First: it puts the checkout on sys.path and mends mmagic.
from report import Clock, Report, ratio

from measure import SUBJECTS, Task, bytes_of, interleaved, subject_config, peak_bytes, quiet  # isort: skip

import torch
from mmengine.config import Config
from mmengine.hub import get_config
from mmengine.registry import init_default_scope

import mmsampriors.models  # noqa: F401
from mmsampriors.engine.export import write_student
from mmsampriors.registry import MODELS


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--models', nargs='+', default=['nafnet', 'restormer'], choices=list(SUBJECTS))
    parser.add_argument('--size', nargs=2, type=int, default=[128, 128], metavar=('H', 'W'))
    parser.add_argument('--dtypes', nargs='+', default=['float32'], help='float32, or one to autocast to')
    parser.add_argument('--rounds', type=int, default=10)
    parser.add_argument('--device', default='cpu')
    parser.add_argument('--threads', type=int, default=2)
    parser.add_argument('--json', action='store_true')
    return parser.parse_args()


def build_models(name: str, device: str) -> tuple:
    """The SPD model, the exported student and the stock model, with the same weights."""
    cfg = subject_config(name)
    spd = MODELS.build(cfg.model)
    with torch.no_grad():
        for parameter in spd.generator.parameters():
            parameter.add_(0.01 * torch.randn_like(parameter))  # some start at zero, and would hide a difference
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / 'student.pth'
        write_student(spd.state_dict(), cfg, str(path))
        exported = MODELS.build(Config.fromfile(path.with_suffix('.py')).model)
        weights = torch.load(path, weights_only=True)['state_dict']
    stock = SUBJECTS[name].stock
    parts = {key: cfg.model[key] for key in ('generator', 'pixel_loss', 'data_preprocessor')}
    stock = MODELS.build(get_config(stock).model if stock else dict(type='BaseEditModel', **parts))
    for model in (exported, stock):
        model.load_state_dict(weights, strict=True)
    return tuple(model.to(device).eval() for model in (spd, exported, stock))


def compare(report: Report, name: str, models: tuple, images: torch.Tensor, dtype: str, args):
    """All rows of one model and precision."""

    def restore(model):
        with torch.no_grad(), torch.autocast(images.device.type, getattr(torch, dtype), enabled=dtype != 'float32'):
            return model(images, mode='tensor')

    spd, exported, stock = models
    both = dict(exported=exported, stock=stock)
    tasks = {key: Task(lambda model=model: restore(model)) for key, model in both.items()}
    equal = [float(torch.equal(restore(exported), restore(model))) for model in (stock, spd)]
    report(f'{name}/equal output, exported and stock', equal[:1], 'bool')
    report(f'{name}/equal output, exported and SPD model', equal[1:], 'bool')
    seconds = interleaved(tasks, Clock(args.device), args.rounds)
    report(f'{name}/latency, stock', seconds['stock'], 's')
    report(f'{name}/latency, exported', seconds['exported'], 's', ratio=ratio(seconds['exported'], seconds['stock']))
    counts = {key: sum(parameter.numel() for parameter in model.parameters()) for key, model in both.items()}
    report(f'{name}/parameters', [counts['exported']], 'parameters', ratio=counts['exported'] / counts['stock'])
    memory = {key: bytes_of(model) + peak_bytes(tasks[key], args.device) for key, model in both.items()}
    report(f'{name}/peak memory', [memory['exported'] / 1e6], 'MB', ratio=memory['exported'] / memory['stock'])


def main():
    args = parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    init_default_scope('mmagic')
    report = Report(args.json, args.device)
    for subject in args.models:
        with quiet():
            models = build_models(subject, args.device)
        images = torch.rand(1, 3, *args.size, device=args.device)
        for dtype in args.dtypes:
            name = f'inference/{subject}/{args.size[0]}x{args.size[1]}/{dtype}'
            compare(report, name, models, images, dtype, args)


if __name__ == '__main__':
    main()
