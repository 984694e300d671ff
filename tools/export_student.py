"""Exports the student of a training checkpoint: OUT, *.pth or *.safetensors, and its stock mmagic config beside it.

With --onnx it becomes an ONNX file too, which runs without torch and mmagic, and is compared with PyTorch at once.
"""

import argparse
import os.path as osp
import sys

sys.path.insert(0, osp.dirname(osp.dirname(osp.abspath(__file__))))

from mmsampriors.command_line import add_debug, run_tool

PARTIAL = 'Take a checkpoint that this config trained. To export it as it is, add --allow-partial'


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config', help='config that trained the checkpoint, or an exported student.py')
    parser.add_argument('checkpoint', help='training checkpoint, or an exported student')
    parser.add_argument('out', nargs='?', help='file to write, *.pth or *.safetensors; the config goes beside it, *.py')
    parser.add_argument('--onnx', metavar='FILE', help='write *.onnx, for images of any size')
    parser.add_argument('--fp16', action='store_true', help='float16 inside the ONNX file: half the size')
    parser.add_argument(
        '--allow-partial', action='store_true', help='export a checkpoint that lacks weights of the student'
    )
    add_debug(parser)
    args = parser.parse_args()
    if args.out is None and args.onnx is None:
        parser.error('name OUT, a file *.pth or *.safetensors, or --onnx FILE, or both')
    if args.out and not args.out.endswith(('.pth', '.safetensors')):
        parser.error(f'OUT must end in .pth or .safetensors, found {args.out}')
    if args.onnx and not args.onnx.endswith('.onnx'):
        parser.error(f'--onnx must end in .onnx, found {args.onnx}')
    if args.fp16 and not args.onnx:
        parser.error('--fp16 goes with --onnx')
    return args


def export_onnx(args, cfg):
    """Writes the ONNX file and prints what the comparison found."""
    from mmsampriors.engine.onnx_export import write_onnx
    from mmsampriors.restoring.torch_network import TorchNetwork

    network = TorchNetwork(cfg, args.checkpoint, 'cpu')
    description = dict(bytes_per_pixel=network.bytes_per_pixel, tile_note=network.tile_note)
    report = write_onnx(network.student, args.onnx, description, args.fp16)
    print(
        f'wrote {args.onnx}: on {report.sizes} images of different sizes ONNX Runtime differs from PyTorch by at most '
        f'{report.difference:.1e} of 1, {report.psnr:.1f} dB'
    )


def main(args):
    from mmengine.registry import init_default_scope

    from mmsampriors.checkpoints import read_weights
    from mmsampriors.engine.export import stock_model, write_student
    from mmsampriors.engine.launch import read_config
    from mmsampriors.engine.pretrained import refuse_misfit, weights_of
    from mmsampriors.registry import MODELS, build_part

    cfg = read_config(args.config)
    state_dict = read_weights(args.checkpoint)
    if not args.allow_partial:
        init_default_scope(cfg.get('default_scope', 'mmagic'))
        student = build_part(MODELS, stock_model(cfg.model))
        refuse_misfit(state_dict, weights_of(student, 'generator'), args.config, PARTIAL)
    if args.out:
        write_student(state_dict, cfg, args.out)
        print(f'wrote {args.out} and {osp.splitext(args.out)[0]}.py')
    if args.onnx:
        export_onnx(args, cfg)


if __name__ == '__main__':
    run_tool(main, parse_args())
