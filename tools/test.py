"""Tests a student as the stock model that it is, and with --refined the refined images too.

Prints one table for all test sets, and writes it to test_results.json and test_results.csv in the work folder.
"""

import argparse
import copy
import os.path as osp
import sys

sys.path.insert(0, osp.dirname(osp.dirname(osp.abspath(__file__))))

import mmsampriors  # noqa: F401  (before mmagic, which it mends)

# isort: split
import mmengine  # noqa: E402
from mmengine.dist import is_main_process  # noqa: E402
from mmengine.hooks import Hook  # noqa: E402
from mmengine.runner import Runner  # noqa: E402

from mmsampriors.checks.pair_check import check_data  # noqa: E402
from mmsampriors.engine.export import stock_model, student_weights  # noqa: E402
from mmsampriors.engine.launch import add_common_options, load_config, process_group  # noqa: E402
from mmsampriors.registry import SCOPE, is_a  # noqa: E402
from mmsampriors.reports import by_set, save_results, sets_of, table_of  # noqa: E402


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config', help='config file, the training config or the exported student.py')
    parser.add_argument('checkpoint', help='training checkpoint or exported student')
    parser.add_argument(
        '--refined', action='store_true', help='test the refined images too; needs a training checkpoint'
    )
    parser.add_argument(
        '--out',
        help='one more file for the metrics, .json, .yaml or .pkl, under the names that '
        'mmagic gives them; those of the refined images begin with refined/',
    )
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


class KeepMetricsHook(Hook):
    """Keeps the metrics of the test; mmagic's test loop does not return them."""

    def __init__(self):
        self.metrics = {}

    def after_test_epoch(self, runner, metrics=None):
        # Where a test set has no metrics mmagic reports a text.
        numbers = {name: value for name, value in (metrics or {}).items() if not isinstance(value, str)}
        self.metrics.update({name: float(value) for name, value in numbers.items()})


def config_of(cfg, refined):
    """The config that tests the student, or the refined images, whose logs and pictures get a folder of their own."""
    cfg = copy.deepcopy(cfg)
    if refined:
        cfg.model.test_cfg = {**(cfg.model.get('test_cfg') or {}), 'refined': True}
        cfg.work_dir = osp.join(cfg.work_dir, 'refined')
        cfg.experiment_name = f'{cfg.get("experiment_name", "test")}_refined'
    elif is_a(cfg.model, 'SPDModel'):
        cfg.model = stock_model(cfg.model)
    # Nothing of training: mmengine's Runner would build the training set to know the iteration, which mmagic's
    # visualization hook asks for, and whoever tests need not have it.
    cfg.train_dataloader = cfg.train_cfg = cfg.optim_wrapper = cfg.param_scheduler = None
    cfg.custom_hooks = [hook for hook in cfg.get('custom_hooks', []) if not str(hook['type']).startswith(f'{SCOPE}.')]
    return cfg


def test(cfg, refined):
    """Runs the test loop and gives its metrics, ``prefix/name`` to value."""
    kept = KeepMetricsHook()
    runner = Runner.from_cfg(config_of(cfg, refined))
    runner.register_hook(RefinerNeededHook() if refined else StudentOnlyHook())
    runner.register_hook(kept, 'LOWEST')
    runner.test()
    return kept.metrics


def main():
    args = parse_args()
    cfg = load_config(args)
    cfg.load_from, cfg.resume = args.checkpoint, False
    if not osp.isfile(args.checkpoint) and '://' not in args.checkpoint:
        raise FileNotFoundError(f'there is no checkpoint {args.checkpoint}')
    if args.refined and not is_a(cfg.model, 'SPDModel'):
        raise ValueError(f'--refined needs the config of an SPDModel, and {args.config} has {cfg.model.type}')
    sets = sets_of(cfg)
    check_data(cfg, training=False)
    with process_group(cfg):
        # The refined images first: a checkpoint without a refiner shows at once, and not after the student's test.
        metrics = {'refined': test(cfg, refined=True)} if args.refined else {}
        metrics = {'student': test(cfg, refined=False), **metrics}
        if is_main_process():
            results = {image: by_set(values, sets) for image, values in metrics.items()}
            save_results(cfg.work_dir, results, config=args.config, checkpoint=args.checkpoint)
            if args.out:
                refined = {f'refined/{name}': value for name, value in metrics.get('refined', {}).items()}
                mmengine.dump({**metrics['student'], **refined}, args.out)
            print(f'\n{table_of(results)}\n\nIn {cfg.work_dir}: test_results.json, test_results.csv')


if __name__ == '__main__':
    main()
