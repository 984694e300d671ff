"""Does a network get better for free? Trains and tests plain and distilled students, and writes the table.

Everything is made by the project's own tools: pairs from a folder of photographs, configs in DIR/configs that anyone
can run by hand, trainings and tests as processes, several side by side. Rows are printed and written to
DIR/results.json as they come; the same command goes on where it was cut off, and rows in --rows count as done. A tenth
of the photographs is held out and tested on; --test-on NAME tests on others, once, with the final defaults.
"""

import argparse
import signal
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import mmsampriors  # noqa: F401  (before mmagic, which it mends)

# isort: split
from evidence_parts.configs import MASKS, SEGMENTERS, test_sets  # noqa: E402
from evidence_parts.photographs import Photographs, bitmaps_of, pairs_of, prepare  # noqa: E402
from evidence_parts.presets import DEGRADATIONS, PRESETS, TRAINED_ON  # noqa: E402
from evidence_parts.report import write_report  # noqa: E402
from evidence_parts.rows import Rows  # noqa: E402
from evidence_parts.runs import Runs  # noqa: E402
from evidence_parts.trainings import RESTORED, STUDENTS, Training, plan  # noqa: E402
from mmsampriors.compat.config_options import ConfigOptions  # noqa: E402
from mmsampriors.experiments.trials import Processes, failures_of  # noqa: E402


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--out', metavar='DIR', type=Path, help='folder of everything')
    parser.add_argument(
        '--report',
        metavar='DIR',
        type=Path,
        help='only rebuild table and curves of a folder, with the rows of --rows merged in',
    )
    parser.add_argument('--rows', metavar='FILE', nargs='+', default=[], help='results.json of other runs, merged')
    parser.add_argument('--preset', choices=list(PRESETS), default='cpu', help='how large the trainings are')
    parser.add_argument(
        '--study',
        choices=['students', 'refiner'],
        default='students',
        help='refiner: with masks against without, over the frozen plain student',
    )
    _add_data_options(parser)
    parser.add_argument('--tasks', nargs='+', choices=list(TRAINED_ON), default=['derain', 'denoise'])
    parser.add_argument(
        '--trained-on',
        nargs='+',
        default=[],
        metavar='SET',
        help=f'test sets of _base_/robustness.py to train on instead of {", ".join(TRAINED_ON.values())}',
    )
    parser.add_argument('--models', nargs='+', choices=['nafnet', 'restormer', 'dncnn', 'edsr'], default=['nafnet'])
    parser.add_argument('--seeds', nargs='+', type=int, default=[0, 1, 2])
    parser.add_argument('--students', nargs='+', choices=STUDENTS, default=['plain', 'self', 'spd'])
    parser.add_argument(
        '--masks',
        nargs='+',
        choices=MASKS,
        default=['felzenszwalb'],
        metavar='MASKS',
        help=f'where masks come from, some of {", ".join(MASKS)}; *{RESTORED} are masks of what the '
        'student that is started from restores, the others of the ground truth',
    )
    parser.add_argument('--sam-checkpoint', metavar='FILE', help='of the sam_vit_* among --masks')
    parser.add_argument(
        '--judge', choices=[*SEGMENTERS, 'none'], default='felzenszwalb', help='segmenter of the segmentation score'
    )
    parser.add_argument(
        '--schedule',
        choices=['joint', 'two_stage'],
        default='two_stage',
        help='two_stage: from the plain student at a share of its updates (Preset.start)',
    )
    parser.add_argument(
        '--unlabeled',
        default='',
        metavar='SET',
        help='degradation of photographs without ground truth that students self and spd learn from besides; with '
        'presets that keep such photographs (small)',
    )
    parser.add_argument('--variant', default='', metavar='NAME', help='name of what --set changes')
    parser.add_argument(
        '--set',
        nargs='+',
        action=ConfigOptions,
        default={},
        metavar='model.spd.KEY=VALUE',
        help='changes of the method, for ablations; unlabeled.KEY=VALUE are arguments of UnlabeledHook, '
        'blend.end_weight=VALUE that of BlendStudentHook',
    )
    parser.add_argument('--updates', type=int, help="student updates, instead of the preset's")
    parser.add_argument('--jobs', type=int, help="trainings side by side on a device, instead of the preset's")
    args = parser.parse_args()
    _check(parser, args)
    return args


def _add_data_options(parser):
    parser.add_argument('--photographs', metavar='FOLDER', help='one in ten is held out, the others are trained on')
    parser.add_argument('--segments', metavar='FOLDER', help='their label maps by human hand, NAME.png')
    parser.add_argument('--eval-photographs', metavar='FOLDER', help='other photographs, for --test-on NAME')
    parser.add_argument('--eval-segments', metavar='FOLDER', help='their label maps')
    parser.add_argument(
        '--test-on',
        metavar='NAME',
        default='held_out',
        help='what rows call the photographs of --eval-photographs, such as eval: the final defaults only',
    )


def _check(parser, args):
    if args.report:
        return
    if not args.out or not args.photographs:
        parser.error('--out and --photographs are needed, or --report alone')
    if (args.test_on == 'held_out') is bool(args.eval_photographs) or args.test_on in ('train', 'unlabeled'):
        parser.error('--test-on NAME goes with --eval-photographs; NAME is none of train, unlabeled, held_out')
    if {'human', 'shuffled'} & set(args.masks) and not args.segments:
        parser.error('masks human and shuffled need --segments')
    if args.schedule == 'joint' and 'plain_restarted' in args.students:
        parser.error('student plain_restarted restarts as the two stages do: expected --schedule two_stage')
    if args.schedule == 'joint' and args.study == 'students' and any(name.endswith(RESTORED) for name in args.masks):
        parser.error(f'masks *{RESTORED} are those of the student that is started from: expected --schedule two_stage')
    wrong = [key for key in args.set if not key.startswith(('model.spd.', 'unlabeled.', 'blend.'))]
    if wrong or bool(args.set) != bool(args.variant):
        parser.error(
            f'--set takes keys below model.spd, unlabeled and blend, {wrong} are not, and goes with --variant, a name '
            'for the rows'
        )
    known = {name for task in args.tasks for name in DEGRADATIONS[task]}
    if not set(args.trained_on) <= known:
        parser.error(f'--trained-on takes {sorted(known)}; found {args.trained_on}')
    if args.unlabeled and not (args.unlabeled in known and PRESETS[args.preset].unlabeled):
        parser.error(
            f'--unlabeled takes {sorted(known)}, with a preset that keeps photographs for it; found '
            f'{args.unlabeled} with --preset {args.preset}'
        )
    if args.updates and args.updates % 4:
        parser.error(f'--updates must be a multiple of 4, found {args.updates}')


def trainings_of(args):
    """What the command line asks for, in the order of work."""
    tasks = {
        task: next((name for name in args.trained_on if name in DEGRADATIONS[task]), TRAINED_ON[task])
        for task in args.tasks
    }
    base = Training(
        PRESETS[args.preset],
        *('', '', '', 0, '', 0),  # each training says these itself
        schedule=args.schedule,
        variant=args.variant,
        overrides=tuple(args.set.items()),
        unlabeled=args.unlabeled,
    )
    students = ['plain', 'refiner'] if args.study == 'refiner' else args.students
    masks = ['none', *args.masks] if args.study == 'refiner' else args.masks
    return plan(
        base,
        tasks=tasks,
        models=args.models,
        seeds=args.seeds,
        students=students,
        masks=list(dict.fromkeys(masks)),
        updates=args.updates,
    )


def make_data(args, trainings):
    """Photographs, label maps and pairs."""
    source = Photographs(args.photographs, args.segments, args.eval_photographs, args.eval_segments, args.test_on)
    preset = PRESETS[args.preset]
    prepare(args.out, source, preset.unlabeled, max(training.scale_factor for training in trainings))
    wanted = [(args.test_on, training.task, name) for training in trainings for name in test_sets(training)]
    wanted += [(part, one.task, one.trained_on) for one in trainings for part in ('train', 'held_out')]
    wanted += [('unlabeled', one.task, one.unlabeled) for one in trainings if one.unlabeled]
    for part, task, name in dict.fromkeys(wanted):
        folder = pairs_of(args.out, part, task, name)
        if preset.bitmaps and part in ('train', 'unlabeled'):
            bitmaps_of(folder, args.out / 'pairs' / preset.part(part) / name)


def work_off(runs, trainings):
    """Carries out what has no rows yet; gives the failures."""
    todo = [training for training in trainings if not runs.is_done(training)]
    # Rows may have come from elsewhere, without the checkpoint that others start from.
    starts = {training.plain() for training in todo if not runs.can_start(training)}
    todo = [training for training in trainings if training in todo or training in starts]
    for training in todo:
        if not training.segments_restored:  # which wait for plain training
            runs.fill_masks(training)
    failures = carry_out([training for training in todo if training.student != 'plain_same_time'], runs)
    late = [training for training in todo if training.student == 'plain_same_time']
    for training in late:
        runs.cost_ratio(training)  # times them, alone on the device
    return failures + carry_out(late, runs)


def carry_out(trainings, runs):
    """Several side by side; gives the failures. A training waits for the one that it starts from."""
    with ThreadPoolExecutor(runs.processes.count) as pool:
        futures = {}
        for training in trainings:
            futures[training] = pool.submit(_after, futures.get(training.plain()), runs.carry_out, training)
        return failures_of(list(futures.values()), pool, runs.processes)


def _after(first, carry_out, training):
    """Plain training stands before all that starts from it, so that waiting for it cannot block the pool."""
    if first is not None and training.first:
        first.exception()
    carry_out(training)


def report(folder, others):
    """Table and curves of the rows of a folder, to which those of other files are added."""
    rows = Rows(folder / 'results.json', others)
    if not rows.rows:
        sys.exit(f'error: there are no rows in {rows.path}; name other files with --rows')
    rows.save()
    write_report(folder, rows.rows)
    print(f'In {folder}: results.json, table.md and curves.png')


def main():
    args = parse_args()
    if args.report:
        report(args.report, args.rows)
        return
    signal.signal(signal.SIGTERM, lambda *_: sys.exit('terminated: the same command goes on from here'))
    args.out, trainings = args.out.resolve(), trainings_of(args)
    make_data(args, trainings)
    rows = Rows(args.out / 'results.json', args.rows)
    processes = Processes(args.jobs or PRESETS[args.preset].jobs, Path(__file__).resolve().parents[1])
    runs = Runs(args.out, processes, rows, args.test_on, args.judge, args.sam_checkpoint)
    failures = work_off(runs, trainings)
    if rows.rows:
        write_report(args.out, rows.rows)
    print(f'In {args.out}: results.json, table.md and curves.png')
    if failures:
        sys.exit('\n\n'.join(f'error: {failure}' for failure in failures))


if __name__ == '__main__':
    main()
