"""Exports the student of a training checkpoint: OUT, *.pth or *.safetensors, and its stock mmagic config beside it.

With --onnx it becomes an ONNX file too, which runs without torch and mmagic, and is compared with PyTorch at once.
With --keys bare OUT is for other programs: weights by the network's own names, which spandrel detects, and no config.
"""

import argparse
import os.path as osp
import sys

sys.path.insert(0, osp.dirname(osp.dirname(osp.abspath(__file__))))

from mmsampriors.command_line import add_debug, run_tool
from mmsampriors.files import MadeFiles

PARTIAL = 'Take a checkpoint that this config trained. To export it as it is, add --allow-partial'


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config', help='config that trained the checkpoint, or an exported student.py; it is run')
    parser.add_argument('checkpoint', help='training checkpoint, or an exported student')
    parser.add_argument('out', nargs='?', help='file to write, *.pth or *.safetensors; the config goes beside it, *.py')
    parser.add_argument('--onnx', metavar='FILE', help='write *.onnx, for images of any size')
    parser.add_argument('--size', nargs=2, type=int, metavar=('H', 'W'), help='ONNX file for one image of this size')
    parser.add_argument('--opset', type=int, default=17, help='version of the operators in ONNX (%(default)s)')
    parser.add_argument('--keys', choices=('mmagic', 'bare'), default='mmagic', help='names of the weights in OUT')
    parser.add_argument('--darktable', metavar='FILE', help='write *.dtmodel, which darktable 5.6 imports')
    parser.add_argument('--card', metavar='FILE', help='write *.md, a model card for a model hub')
    parser.add_argument('--fp16', action='store_true', help='float16 inside the ONNX file: half the size')
    parser.add_argument(
        '--allow-partial', action='store_true', help='export a checkpoint that lacks weights of the student'
    )
    add_debug(parser)
    args = parser.parse_args()
    if args.out is None and args.onnx is None and args.darktable is None:
        parser.error('name OUT, a file *.pth or *.safetensors, or --onnx FILE, or --darktable FILE')
    if args.out and not args.out.endswith(('.pth', '.safetensors')):
        parser.error(f'OUT must end in .pth or .safetensors, found {args.out}')
    for name, suffix in (('onnx', '.onnx'), ('darktable', '.dtmodel'), ('card', '.md')):
        path = getattr(args, name)
        if path and not path.endswith(suffix):
            parser.error(f'--{name} must end in {suffix}, found {path}')
    if args.keys == 'bare' and not (args.out or '').endswith('.safetensors'):
        parser.error('--keys bare goes with OUT, a file *.safetensors')
    if not 11 <= args.opset <= 20:  # what padding needs, and what torch 2.14 knows
        parser.error(f'--opset must be from 11 to 20, found {args.opset}')
    if args.size and not args.onnx:
        parser.error('--size goes with --onnx')
    if args.size and min(args.size) < 16:
        parser.error(f'--size must be at least 16 16, found {args.size[0]} {args.size[1]}')
    if args.fp16 and not args.onnx:
        parser.error('--fp16 goes with --onnx')
    return args


def export_for_others(args, cfg, files):
    """Writes what needs the network itself, and prints what the comparisons found."""
    from mmsampriors.engine.export import student_config
    from mmsampriors.engine.onnx_export import write_onnx
    from mmsampriors.inference.publishing import write_bare, write_card, write_darktable
    from mmsampriors.inference.torch_network import TorchNetwork

    network = TorchNetwork(student_config(cfg), args.checkpoint, 'cpu')
    if args.keys == 'bare':
        print(f'wrote {args.out}: {write_bare(network.student, args.out)}')
    if args.onnx:
        description = dict(bytes_per_pixel=network.bytes_per_pixel, tile_note=network.tile_note)
        shape = dict(size=args.size and tuple(args.size), opset=args.opset)
        report = write_onnx(network.student, args.onnx, description, args.fp16, **shape)
        images = f'{report.sizes} images of different sizes' if report.sizes > 1 else 'one image'
        print(
            f'wrote {args.onnx}: on {images} ONNX Runtime differs from PyTorch by at '
            f'most {report.difference:.1e} of 1, {report.psnr:.1f} dB'
        )
    if args.darktable:
        print(f'wrote {args.darktable}: {write_darktable(network, args.darktable, args.opset)}')
    if args.card:
        write_card(network, cfg, args.card, files, args.config, args.checkpoint, bool(args.size))
        print(f'wrote {args.card}')


def refuse_losses(inputs, outputs):
    """Looks, before the work, whether a file would be lost."""
    for path in outputs:
        if any(osp.exists(given) and osp.realpath(given) == osp.realpath(path) for given in inputs):
            raise ValueError(f'{path} is read and would be replaced by what is exported: name another file')
        MadeFiles(osp.dirname(path), 'export_student').refuse_changed([osp.basename(path)])


def main(args):
    from mmengine.registry import init_default_scope

    from mmsampriors.checkpoints import read_generator
    from mmsampriors.engine.export import exported_files, stock_model, write_student
    from mmsampriors.engine.launch import read_config
    from mmsampriors.engine.pretrained import refuse_misfit, weights_of
    from mmsampriors.files import HASH_KEY
    from mmsampriors.registry import MODELS, build_part

    bare = args.keys == 'bare'
    files = [args.out] if bare else exported_files(args.out) if args.out else []
    files += filter(None, [args.onnx, args.darktable])
    refuse_losses([args.config, args.checkpoint], [*files, *filter(None, [args.card])])
    cfg = read_config(args.config)
    beside = osp.splitext(args.config)[0] == osp.splitext(args.checkpoint)[0]
    state_dict, form = read_generator(args.checkpoint, cfg.get(HASH_KEY) if beside else None)
    if form:
        print(f'{args.checkpoint}: {form}')
    if not args.allow_partial:
        init_default_scope(cfg.get('default_scope', 'mmagic'))
        student = build_part(MODELS, stock_model(cfg.model))
        refuse_misfit(state_dict, weights_of(student, 'generator'), args.config, PARTIAL)
    if args.out and not bare:
        write_student(state_dict, cfg, args.out)
        print(f'wrote {args.out} and {osp.splitext(args.out)[0]}.py')
    if bare or args.onnx or args.darktable or args.card:
        export_for_others(args, cfg, files)


if __name__ == '__main__':
    run_tool(main, parse_args())
