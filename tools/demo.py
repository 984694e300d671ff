"""A local page that restores photographs and shows what SAM sees in them: ``demo.py --student student.pth``.

Drop a photograph or pick a sample, add rain, noise or blur to a clean one, pull the line between before and after, and
click on a thing to see SAM's mask of it in both. The page is for this machine alone unless --host says otherwise. It
keeps no photograph.
"""

import argparse
import os.path as osp
import sys

# A script in a checkout runs the checkout, whatever is installed.
sys.path.insert(0, osp.dirname(osp.dirname(osp.abspath(__file__))))

from mmsampriors.command_line import add_allow_imports, add_debug, run_tool


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        '--student',
        help='student.pth or student.safetensors with student.py beside it, student.onnx, or the name of one of the '
        'package; by default all that the package has',
    )
    parser.add_argument('--sam', default='tiny', help='which SAM: tiny (default), vit_b, sam2.1_t, and others')
    parser.add_argument('--sam-checkpoint', help='its weights; by default they are downloaded when they are needed')
    parser.add_argument('--device', help='such as cuda:1; by default CUDA where there is one')
    parser.add_argument(
        '--host', type=host, default='127.0.0.1', help='address to listen on (%(default)s: this machine alone)'
    )
    parser.add_argument('--port', type=port, default=7860, help='port to listen on (%(default)s); 0: any that is free')
    parser.add_argument('--max-megabytes', type=positive, default=30, help='largest upload (%(default)s)')
    parser.add_argument('--max-megapixels', type=positive, default=16, help='largest photograph (%(default)s)')
    add_allow_imports(parser)
    add_debug(parser)
    return parser.parse_args()


def positive(text):
    number = float(text)
    if not 0 < number < float('inf'):
        raise argparse.ArgumentTypeError(f'expected a number above 0, found {text}')
    return number


def port(text):
    if not (text.isdecimal() and int(text) < 2**16):
        raise argparse.ArgumentTypeError(f'expected a port from 0 to 65535, found {text}')
    return int(text)


def host(text):
    # Python takes an empty address for all that the machine has.
    if not text.strip():
        raise argparse.ArgumentTypeError('expected a name or an address, found nothing')
    return text


def main(args):
    from mmsampriors.demo.server import serve

    try:
        serve(
            student=args.student,
            sam=args.sam,
            sam_checkpoint=args.sam_checkpoint,
            device=args.device,
            host=args.host,
            port=args.port,
            most_bytes=int(args.max_megabytes * 2**20),
            most_pixels=int(args.max_megapixels * 1e6),
            debug=args.debug,
            allow_imports=args.allow_imports,
        )
    except (FileNotFoundError, ImportError, ValueError) as error:
        print(f'error: {error}', file=sys.stderr)
        sys.exit(2)


if __name__ == '__main__':
    run_tool(main, parse_args())
