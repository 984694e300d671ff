"""Tests a student as the stock model that it is, or the refined images with --refined."""
import argparse
import os.path as osp
import sys

sys.path.insert(0, osp.dirname(osp.dirname(osp.abspath(__file__))))

import mmsampriors.compat  # noqa: E402, F401
import mmengine  # noqa: E402
from mmengine.hooks import Hook  # noqa: E402
from mmengine.runner import Runner  # noqa: E402

from mmsampriors.datasets.pair_check import check_data  # noqa: E402
from mmsampriors.engine.export import stock_model, student_weights  # noqa: E402
from mmsampriors.engine.launch import add_common_options, join_on_cpu, load_config  # noqa: E402


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='config file, the training config or the exported student.py')
    parser.add_argument('checkpoint', help='training checkpoint or exported student')
    parser.add_argument('--refined', action='store_true', help='test the refined images; needs a training checkpoint')
    parser.add_argument('--out', help='file for the metrics, .json, .yaml or .pkl')
    add_common_options(parser)
    return parser.parse_args()


class StudentOnlyHook(Hook):
    """Takes SPF unit and refiner out of a training checkpoint before it is loaded."""

    def after_load_checkpoint(self, runner, checkpoint):
        checkpoint['state_dict'] = student_weights(checkpoint.get('state_dict', checkpoint))


class RefinerNeededHook(Hook):
    """Refuses a checkpoint without SPF unit and refiner."""

    def after_load_checkpoint(self, runner, checkpoint):
        if not any(key.startswith('refiner.') for key in checkpoint.get('state_dict', checkpoint)):
            raise ValueError('--refined needs a training checkpoint of an SPDModel; this one holds no refiner')


class SaveMetricsHook(Hook):
    """Writes the metrics of the test to a file."""

    def __init__(self, path):
        self.path = path

    def after_test_epoch(self, runner, metrics=None):
        if metrics is not None:
            mmengine.dump({name: float(value) for name, value in metrics.items()}, self.path)


def main():
    args = parse_args()
    cfg = load_config(args)
    cfg.load_from, cfg.resume = args.checkpoint, False
    if not osp.isfile(args.checkpoint) and '://' not in args.checkpoint:
        raise FileNotFoundError(f'there is no checkpoint {args.checkpoint}')
    if args.refined and cfg.model.type != 'SPDModel':
        raise ValueError(f'--refined needs the config of an SPDModel, and {args.config} has {cfg.model.type}')
    if args.refined:
        cfg.model.test_cfg = {**(cfg.model.get('test_cfg') or {}), 'refined': True}
    elif cfg.model.type == 'SPDModel':
        cfg.model = stock_model(cfg.model)
    own = cfg.get('spd_hooks', [])
    cfg.custom_hooks = [hook for hook in cfg.get('custom_hooks', []) if hook not in own]
    check_data(cfg, training=False)
    join_on_cpu(cfg)
    runner = Runner.from_cfg(cfg)
    runner.register_hook(RefinerNeededHook() if args.refined else StudentOnlyHook())
    if args.out:
        runner.register_hook(SaveMetricsHook(args.out), 'LOWEST')
    runner.test()


if __name__ == '__main__':
    main()
