"""Tests a student as the stock model that it is, and with --refined the refined images too.

Prints one table for all test sets, and writes it to test_results.json and test_results.csv in the work folder.
"""

import argparse
import os.path as osp
import sys

sys.path.insert(0, osp.dirname(osp.dirname(osp.abspath(__file__))))

from mmsampriors.command_line import add_common_options, run_tool

FORMATS = ('.json', '.yaml', '.yml', '.pkl', '.pickle')


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config', help='the training config; it is run')
    parser.add_argument('checkpoint', help='training checkpoint or exported student')
    parser.add_argument(
        '--refined', action='store_true', help='test the refined images too; needs a training checkpoint'
    )
    parser.add_argument(
        '--out',
        help='one more file for the metrics, .json, .yaml or .pkl, under the names that '
        'mmagic gives them; those of the refined images begin with refined/',
    )
    parser.add_argument(
        '--allow-partial', action='store_true', help='test a checkpoint that lacks weights of the model, with a warning'
    )
    add_common_options(parser)
    return parser.parse_args()


def main(args):
    import mmengine
    from mmengine.dist import is_main_process

    from mmsampriors.checks.config_parts import check_parts
    from mmsampriors.checks.pair_check import check_data
    from mmsampriors.engine.launch import load_config, process_group
    from mmsampriors.engine.testing import config_for_testing, test
    from mmsampriors.files import MadeFiles, check_writable
    from mmsampriors.registry import is_a
    from mmsampriors.reports import RESULT_FILES, by_set, save_results, sets_of, table_of

    cfg = load_config(args)
    cfg.load_from, cfg.resume = args.checkpoint, False
    if not osp.isfile(args.checkpoint) and '://' not in args.checkpoint:
        raise FileNotFoundError(f'there is no checkpoint {args.checkpoint}')
    if args.refined and not is_a(cfg.model, 'SPDModel'):
        raise ValueError(f'--refined needs the config of an SPDModel, and {args.config} has {cfg.model.type}')
    check_parts(config_for_testing(cfg, args.refined))
    if args.out:
        if not args.out.endswith(FORMATS):
            raise ValueError(f'--out is a file of {", ".join(FORMATS)}, found {args.out}')
        check_writable(args.out)
    MadeFiles(cfg.work_dir, 'test').refuse_changed(RESULT_FILES)
    out = MadeFiles(osp.dirname(args.out), 'test') if args.out else None
    if out:
        out.refuse_changed([osp.basename(args.out)])
    sets = sets_of(cfg)
    check_data(cfg, training=False, images=not args.no_check)
    with process_group(cfg):
        # The refined images first: a checkpoint without a refiner shows at once, and not after the student's test.
        metrics = {'refined': test(cfg, True, args.allow_partial)} if args.refined else {}
        metrics = {'student': test(cfg, False, args.allow_partial), **metrics}
        if is_main_process():
            results = {image: by_set(values, sets) for image, values in metrics.items()}
            save_results(cfg.work_dir, results, config=args.config, checkpoint=args.checkpoint)
            if out:
                refined = {f'refined/{name}': value for name, value in metrics.get('refined', {}).items()}
                content = mmengine.dump({**metrics['student'], **refined}, file_format=osp.splitext(args.out)[1][1:])
                out.write(osp.basename(args.out), content)
            print(f'\n{table_of(results)}\n')
            print(''.join(f'{one.name}: {one.settings}\n' for one in sets if one.settings))
            print(f'In {cfg.work_dir}: test_results.json, test_results.csv')


if __name__ == '__main__':
    run_tool(main, parse_args())
