"""Does SPD help on your data? Trains your config plain, self-distilled without masks, and as it is, and says.

All have the same networks, learning rates, order of the data and seeds; a config without masks is trained twice only.
Prints a summary for each test set of the config and a table, and writes summary.md and summary.png. The same command
goes on where it was cut off.
"""

import argparse
import os
import os.path as osp
import sys

sys.path.insert(0, osp.dirname(osp.dirname(osp.dirname(osp.abspath(__file__)))))

from mmsampriors.command_line import add_cfg_options, add_debug, count, run_tool


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config', help='config of an SPDModel, with test sets')
    parser.add_argument('--seeds', type=count, default=3, help='how many, from 0 on; one shows no interval')
    parser.add_argument('--iters', type=count, help="iterations of each training, instead of the config's")
    parser.add_argument('--unlabeled', nargs='+', default=[], metavar='FOLDER', help='photographs without ground truth')
    parser.add_argument('--devices', help='GPUs to use, such as 0,1; by default all that are visible')
    parser.add_argument('--jobs', type=count, default=1, help='trainings side by side on a device, or on the CPU')
    parser.add_argument('--hours', type=float, default=12.0, help='refuse to begin what is estimated to take longer')
    parser.add_argument('--work-dir', help='folder of everything; by default work_dirs/does_it_help/NAME')
    add_cfg_options(parser)
    add_debug(parser)
    args = parser.parse_args()
    if args.devices is not None:
        os.environ['CUDA_VISIBLE_DEVICES'] = args.devices
    return args


def main(args):
    from pathlib import Path

    from mmsampriors.engine.launch import read_config
    from mmsampriors.engine.rehearsal import problems_of, rehearsed
    from mmsampriors.experiments import Processes, baselines_of, prepare_trial, shortened, summarize, with_unlabeled
    from mmsampriors.experiments.summary import FILES
    from mmsampriors.experiments.trials import run_trials
    from mmsampriors.files import MadeFiles
    from mmsampriors.reports import sets_of

    cfg = read_config(args.config)
    cfg.merge_from_dict(args.cfg_options or {})
    cfg = shortened(cfg, args.iters)
    name = osp.splitext(osp.basename(args.config))[0]
    out = Path(args.work_dir or osp.join('work_dirs', 'does_it_help', name)).resolve()
    cfg.work_dir = str(out)
    MadeFiles(out, 'does_it_help').refuse_changed(FILES)
    # The dearest of the three; what it meets, the others meet too.
    spd = with_unlabeled(cfg, args.unlabeled)
    problems = problems_of(spd)
    if problems:
        sys.exit('\n\n'.join(f'{number}. {text}' for number, text in enumerate(problems, 1)))
    sets_of(cfg)  # what cannot be tested is known now
    baselines = baselines_of(cfg)
    trials = [
        prepare_trial(cfg, baseline, seed, out, args.unlabeled) for seed in range(args.seeds) for baseline in baselines
    ]
    processes = Processes(args.jobs, Path(__file__).resolve().parents[2])
    if not all(trial.checkpoint.is_file() for trial in trials):
        table, seconds = rehearsed(spd)
        hours = seconds * len(trials) / processes.count / 3600
        print(f'{table}\n\n{len(trials)} such trainings, {processes.count} side by side: at most {hours:.1f} hours')
        if hours > args.hours:
            fewer = int(cfg.train_cfg.max_iters * args.hours / hours)
            sys.exit(
                f'error: that is more than --hours {args.hours:g}. Ask for less, such as --iters {fewer}, or allow more'
            )
    seconds_of_masks = run_trials(trials, processes, out)
    summary = summarize(trials, out, seconds_of_masks)
    print(f'\n{summary.table}\n\n{summary.sentence}\n\nIn {out}: summary.md, summary.png, and all runs')


if __name__ == '__main__':
    run_tool(main, parse_args())
