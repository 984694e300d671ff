"""Restores photographs with a trained student: ``restore.py PHOTOGRAPHS ... --out FOLDER --student student.pth``.

``--student rain`` takes a small student that travels with the package. PHOTOGRAPHS are files, folders (searched to any
depth; their structure is kept) and globs. Files that cannot be read are named and passed by, and the exit code is 1
then. What is done is not done again on the next call. An ONNX student needs neither torch nor mmagic and starts at
once.
"""

import argparse
import os.path as osp
import sys

# A script in a checkout runs the checkout, whatever is installed.
sys.path.insert(0, osp.dirname(osp.dirname(osp.abspath(__file__))))

from mmsampriors.command_line import add_allow_imports, add_debug, run_tool
from mmsampriors.files import MadeFiles, shard_of
from mmsampriors.inference.inputs import find_photographs, kinds_of
from mmsampriors.inference.job import Job
from mmsampriors.inference.measures import METRICS, Measuring, file_of
from mmsampriors.inference.restorer import OVERLAP, Restorer, runs_on_onnx


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('photographs', nargs='+', help='files, folders and globs')
    parser.add_argument('--out', required=True, help='folder of the results')
    parser.add_argument(
        '--student',
        help='noise, camera, rain, blur, x2 or x4 (they travel with the package), student.pth or student.safetensors '
        "with student.py beside it, which is read and not run, or student.onnx; a file of a network's authors, which "
        'spandrel recognizes; or mmagic::FOLDER/CONFIG.py, with the weights that mmagic names for it',
    )
    parser.add_argument('--config', help='instead of --student: a config of mmagic or ours, which is run')
    parser.add_argument('--checkpoint', help='the weights for --config, of training or exported')
    parser.add_argument(
        '--tile', type=tile_of, default='auto', help='side of the tiles in pixels; auto: as memory allows; off: none'
    )
    parser.add_argument('--overlap', type=int, default=OVERLAP, help='pixels that tiles share (%(default)s)')
    parser.add_argument('--device', help='such as cuda:1; by default CUDA where there is one, for ONNX the CPU')
    parser.add_argument('--amp', action='store_true', help='half precision: float16 on CUDA, bfloat16 on the CPU')
    parser.add_argument(
        '--shard', type=shard_of, default=(0, 1), metavar='I/N', help='every N-th from the I-th (from 0) on'
    )
    parser.add_argument('--compare', action='store_true', help='write panels too, in OUT/compared')
    parser.add_argument('--refined', action='store_true', help='write what the refiner makes too, in OUT/refined')
    parser.add_argument(
        '--skip-garbage',
        action='store_true',
        help='keep the input where restoring changed its large shapes: enlarged by bicubic interpolation where the '
        'network enlarges',
    )
    parser.add_argument('--gt', help='folder of ground truths of the same names: measures against them')
    parser.add_argument(
        '--metrics',
        nargs='+',
        choices=METRICS,
        help='what is measured (with --gt: PSNR SSIM, of enlarged images PSNR-Y SSIM-Y)',
    )
    add_allow_imports(parser)
    add_debug(parser)
    args = parser.parse_args()
    if not args.out:
        parser.error('--out must name a folder, found nothing')
    if args.refined and not args.config:
        parser.error('--refined needs --config and --checkpoint of a training: a student holds no refiner')
    return args


def tile_of(text):
    if text not in ('auto', 'off') and not text.isdecimal():
        raise argparse.ArgumentTypeError(f"expected a number of pixels, 'auto' or 'off', found {text!r}")
    return text if text in ('auto', 'off') else int(text)


def main(args):
    try:
        kinds = kinds_of(args.refined, args.compare)
        photographs = find_photographs(args.photographs, args.out, kinds)[args.shard[0] :: args.shard[1]]
        if args.metrics or args.gt:
            MadeFiles(args.out, 'restore').refuse_changed([file_of(args.shard)])
        restorer = Restorer(
            args.student,
            config=args.config,
            checkpoint=args.checkpoint,
            device=args.device,
            tile=args.tile,
            overlap=args.overlap,
            amp=args.amp,
            allow_imports=args.allow_imports,
        )
        measuring = Measuring.of(args.metrics, args.gt, photographs, args.device, restorer.network.scale)
        refine = refiner_of(args, restorer) if args.refined else None
    except (FileExistsError, FileNotFoundError, ModuleNotFoundError, ValueError) as error:
        # 1 is for photographs that could not be restored.
        print(f'error: {error}', file=sys.stderr)
        sys.exit(2)
    for note in restorer.network.notes:
        print(note)
    measure, truth = (measuring.row_of, measuring.truth_of) if measuring else (None, None)
    job = Job(restorer, args.out, args.compare, refine, measure, truth if args.gt else None, args.skip_garbage)
    outcome = job.run(photographs)
    print(f'{outcome.restored} restored by {restorer.network.name}, {outcome.ready} were ready, in {args.out}')
    if outcome.garbage:
        kept = '; their inputs are kept' if args.skip_garbage else ''
        print(f'{len(outcome.garbage)} of {len(photographs)} look like garbage and are named above{kept}')
    if measuring:
        print(f'\n{measuring.report(outcome.measured, args.out, args.shard)}')
    if outcome.failed:
        print(f'{len(outcome.failed)} of {len(photographs)} not restored; they are named above', file=sys.stderr)
        sys.exit(1)


def refiner_of(args, restorer):
    # Here and not above: it imports torch and mmagic.
    from mmsampriors.inference.torch_network import Refiner, config_of

    return Refiner(restorer.network, config_of(args.config), args.checkpoint)


if __name__ == '__main__':
    arguments = parse_args()
    run_tool(
        main,
        arguments,
        heavy=not runs_on_onnx(arguments.student, arguments.device, arguments.amp)
        or bool(arguments.metrics or arguments.gt),
    )
