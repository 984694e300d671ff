"""The main job on an embedded default, in minutes on two cores.

Makes rainy pairs from the photographs that scikit-image ships, trains a small Restormer, then trains it on twice for
the same number of its own steps, once plainly and once with SAM-prior distillation, which trains a refiner first, and
compares the two on photographs that were not trained on. An interrupted run goes on where it was; after a finished one,
a new one starts.
"""

import argparse
import contextlib
import json
import os
import os.path as osp
import shutil
import sys

sys.path.insert(0, osp.dirname(osp.dirname(osp.abspath(__file__))))

import mmsampriors  # noqa: F401  (before mmagic, which it mends)

# isort: split
import skimage.data  # noqa: E402
from mmengine.config import Config  # noqa: E402
from PIL import Image  # noqa: E402
from tqdm import tqdm  # noqa: E402

from mmsampriors.data_preparation.degradations import RainSettings, add_rain  # noqa: E402
from mmsampriors.data_preparation.pairs import make_pairs  # noqa: E402

# What imports torch and mmagic, 5 s, is imported where it is used: the photographs get their rain before that.

ROOT = osp.dirname(osp.dirname(osp.abspath(__file__)))
PHOTOGRAPHS = dict(
    train=['astronaut.png', 'rocket.jpg', 'motorcycle_left.png', 'motorcycle_right.png'],
    test=['chelsea.png', 'coffee.png'],
)
# Each copy gets its own rain.
COPIES = dict(train=8, test=1)
# Photographs of other sizes are shrunk to this longest side, in pixels, so that testing takes seconds.
LONGEST_SIDE = 448
# Decibels above the rainy input that the student must reach.
GAIN = 1.0
TITLES = dict(first='training', plain='training on, plain', spd='training on, SPD')


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--out', default=osp.join(ROOT, 'work_dirs', 'quickstart'), help='folder of the results')
    parser.add_argument('--first', type=int, default=220, help='steps of the plain training that both start from')
    parser.add_argument('--refiner', type=int, default=90, help='steps that train the refiner over that student')
    parser.add_argument('--then', type=int, default=100, help="the student's steps in both trainings that are compared")
    return parser.parse_args()


def make_data(out):
    """Writes the photographs and their rainy versions below ``out/data``."""
    for split, names in PHOTOGRAPHS.items():
        photographs = osp.join(out, 'photographs', split)
        os.makedirs(photographs, exist_ok=True)
        for name in names:
            with Image.open(osp.join(osp.dirname(skimage.data.__file__), name)) as image:
                small = image.convert('RGB')
                small.thumbnail((LONGEST_SIDE, LONGEST_SIDE))
                for copy in range(COPIES[split]):
                    small.save(osp.join(photographs, f'{osp.splitext(name)[0]}_{copy}.png'), icc_profile=None)
        make_pairs(photographs, osp.join(out, 'data', split), add_rain, RainSettings(veiling=0))


def progress_hook(bar, name, log):
    """A hook that moves the progress bar and shows the loss."""
    from mmengine.hooks import Hook

    class ProgressHook(Hook):
        def before_train(self, runner):
            bar.set_description(TITLES[name])
            bar.update(runner.iter)

        def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
            bar.update()
            bar.set_postfix(loss=f'{float(outputs["loss"]):.3f}', refresh=False)
            log.flush()

    return ProgressHook()


def config_of(name, args, distil):
    """The quickstart's config for one training, with its folders and number of steps."""
    from mmsampriors.engine.export import stock_model

    cfg = Config.fromfile(osp.join(ROOT, 'configs', 'spd', 'quickstart.py'))
    steps = dict(first=args.first, plain=args.then, spd=args.refiner + args.then)[name]
    cfg.work_dir, cfg.launcher = osp.join(args.out, name), 'none'
    cfg.experiment_name = f'quickstart_{name}'
    for loader, split in ((cfg.train_dataloader, 'train'), (cfg.val_dataloader, 'test')):
        loader.dataset.data_root = osp.join(args.out, 'data', split)
    cfg.model.spd.masks.cache_dir = osp.join(args.out, 'masks')
    cfg.test_dataloader = cfg.test_evaluator = cfg.test_cfg = None
    cfg.train_cfg.max_iters, cfg.param_scheduler.T_max = steps, steps
    cfg.train_cfg.val_interval = max(1, steps // 4)
    if distil:
        cfg.model.spd.schedule = dict(type='TwoStageSchedule', refiner=args.refiner / steps, _scope_='mmagic')
        # The student's own steps have the rates that they have in plain training.
        cfg.param_scheduler = dict(
            type='CosineRestartLR',
            by_epoch=False,
            periods=[args.refiner, args.then],
            restart_weights=[1, 1],
            eta_min=cfg.param_scheduler.eta_min,
        )
    else:
        cfg.model = stock_model(cfg.model)
        # Both trainings are shown the same patches.
        cfg.custom_hooks = [hook for hook in cfg.custom_hooks if hook.type == 'ExactResumeHook']
    return cfg


def train(name, args, bar, log, distil=False):
    """One training, from its own latest checkpoint where there is one; gives its last checkpoint's path."""
    from mmengine.runner import Runner

    cfg = config_of(name, args, distil)
    cfg.resume = osp.isfile(osp.join(cfg.work_dir, 'last_checkpoint'))
    if name != 'first':
        # Both start from a trained student: smaller steps than from scratch.
        cfg.optim_wrapper.optimizer.lr /= 2
        cfg.load_from = None if cfg.resume else osp.join(args.out, 'first', f'iter_{args.first}.pth')
    with contextlib.redirect_stdout(log):
        runner = Runner.from_cfg(cfg)
        runner.register_hook(progress_hook(bar, name, log))
        runner.train()
    return osp.join(cfg.work_dir, f'iter_{cfg.train_cfg.max_iters}.pth')


def train_all(args):
    """The three trainings behind one progress bar; gives the checkpoints by name."""
    steps = args.first + 2 * args.then + args.refiner
    with open(osp.join(args.out, 'quickstart.log'), 'a') as log, tqdm(total=steps, unit='step') as bar:
        return {
            'first': train('first', args, bar, log),
            'plain': train('plain', args, bar, log),
            'spd': train('spd', args, bar, log, distil=True),
        }


def write_results(args, checkpoints):
    """``student.pth``, ``panel.png``, ``curves.png`` and ``metrics.json``; gives the metrics."""
    import torch

    from mmsampriors.engine.compare_on_pairs import compare_on_pairs, mean_metrics
    from mmsampriors.files import write_whole
    from mmsampriors.reports import draw_curves, read_scalars

    states = {name: torch.load(path, weights_only=True)['state_dict'] for name, path in checkpoints.items()}
    model_cfg = config_of('spd', args, distil=True).model
    comparisons = compare_on_pairs(model_cfg, states, 'spd', osp.join(args.out, 'data', 'test'))
    draw_results(comparisons, osp.join(args.out, 'panel.png'))
    draw_curves(
        {
            title: {name: read_scalars(osp.join(args.out, name), scalar) for name in ('plain', 'spd')}
            for title, scalar in (('PSNR-Y on the test photographs (dB)', 'PSNR'), ('SSIM-Y', 'SSIM'))
        },
        osp.join(args.out, 'curves.png'),
    )
    for suffix in ('.pth', '.py'):
        shutil.copy(osp.join(args.out, 'spd', f'student{suffix}'), args.out)
    metrics = mean_metrics(comparisons)
    # Written last: where it is, the run is complete.
    write_whole(osp.join(args.out, 'metrics.json'), json.dumps(metrics, indent=2))
    return metrics


def draw_results(comparisons, path):
    """Writes the labelled panel, a row a photograph."""
    from mmsampriors.visualization import draw_masks, draw_panel

    titles = dict(
        input='rainy',
        first='student before',
        spd='student after',
        masks='masks',
        refined='refined',
        target='ground truth',
    )
    rows, notes = {}, {}
    for one in comparisons:
        images = {**one.images, 'masks': draw_masks(one.images['spd'], one.masks)}
        rows[one.name] = {title: images[name] for name, title in titles.items()}
        notes[one.name] = {
            title: f'{one.metrics[name]["PSNR"]:.2f} dB' for name, title in titles.items() if name in one.metrics
        }
        notes[one.name]['masks'] = f'{len(one.masks)} masks'
    Image.fromarray(draw_panel(rows, notes)).save(path)


def show(metrics, out):
    """Prints the table and what it says."""
    titles = dict(
        input='rainy input',
        first='student before',
        plain='plain, equal steps',
        spd='SPD',
        refined='refined (with masks)',
    )
    print(f'\n{"":22}{"PSNR-Y":>10}{"SSIM-Y":>10}')
    for name, title in titles.items():
        print(f'{title:22}{metrics[name]["PSNR"]:10.2f}{metrics[name]["SSIM"]:10.4f}')
    gain = metrics['spd']['PSNR'] - metrics['plain']['PSNR']
    print(
        f'\nSPD is {abs(gain):.2f} dB {"above" if gain >= 0 else "BELOW"} plain training at equal steps: one seed, '
        f'{len(PHOTOGRAPHS["test"])} photographs, minutes of training; no evidence either way.'
    )
    print(f'In {out}: student.pth, student.py, metrics.json, panel.png, curves.png, quickstart.log')


def main():
    args = parse_args()
    print('Trains a small Restormer three times; the bar shows the time left.', flush=True)
    if osp.isfile(osp.join(args.out, 'metrics.json')):
        # Only what an earlier run made: the folder may be anyone's.
        for name in ('data', 'first', 'masks', 'photographs', 'plain', 'spd'):
            shutil.rmtree(osp.join(args.out, name), ignore_errors=True)
        os.remove(osp.join(args.out, 'metrics.json'))
    os.makedirs(args.out, exist_ok=True)
    make_data(args.out)
    metrics = write_results(args, train_all(args))
    show(metrics, args.out)
    gain = metrics['spd']['PSNR'] - metrics['input']['PSNR']
    if gain < GAIN:
        sys.exit(f'error: the student is {gain:.2f} dB above the rainy input, and {GAIN} dB were expected')


if __name__ == '__main__':
    main()
