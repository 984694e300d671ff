"""Segments everything in photographs: ``segment.py PHOTOGRAPHS ... --sam vit_h --out FOLDER``, without a config.

PHOTOGRAPHS are files, folders (searched to any depth; their structure is kept) and globs. What is done is not done
again on the next call, and processes (torchrun) and machines (--shard) may share one folder. Files that cannot be read
are named and passed by, and the exit code is 1 then. It needs none of mmagic, mmengine and mmcv.
"""

import argparse
import os
import os.path as osp
import sys
from functools import lru_cache, partial

# A script in a checkout runs the checkout, whatever is installed.
sys.path.insert(0, osp.dirname(osp.dirname(osp.abspath(__file__))))

from mmsampriors.command_line import add_debug, count, run_tool
from mmsampriors.files import check_writable, shard_of
from mmsampriors.inference.inputs import find_photographs

#: Options of SamAutomaticMaskGenerator, under its names.
GENERATOR = dict(
    points_per_side=(count, 'prompts are a grid of that many points squared'),
    pred_iou_thresh=(float, 'masks must have a higher predicted IoU'),
    stability_score_thresh=(float, 'masks must have at least this stability'),
    stability_score_offset=(float, 'distance in logits of the two cuts that stability compares'),
    box_nms_thresh=(float, 'of two masks whose boxes have a higher IoU, one is dropped'),
)
#: Of this process among those of torchrun.
RANK, PROCESSES = int(os.environ.get('RANK', 0)), int(os.environ.get('WORLD_SIZE', 1))


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('photographs', nargs='+', help='files, folders and globs')
    parser.add_argument('--out', required=True, help='folder of the masks')
    parser.add_argument(
        '--sam',
        default='vit_h',
        help='vit_h (default), vit_l, vit_b, tiny, sam2.1_l and others: docs/mask_engine.md',
    )
    parser.add_argument('--checkpoint', help="file or URL of the SAM's weights; by default the official ones")
    parser.add_argument(
        '--as',
        dest='form',
        choices=['coco', 'label_maps'],
        default='coco',
        help='coco: NAME.json with run lengths, as SA-1B and amg.py --convert-to-rle have them (default); '
        'label_maps: NAME.png, the smallest mask at each pixel by its number, 0 where there is none',
    )
    parser.add_argument('--preview', action='store_true', help='write pictures of the masks too, OUT/preview/NAME.jpg')
    parser.add_argument(
        '--shard', type=shard_of, default=(0, 1), metavar='I/N', help='every N-th from the I-th (from 0) on'
    )
    parser.add_argument('--device', help='by default CUDA, one device a process, or else the CPU')
    parser.add_argument('--batch-size', type=count, help='images at once; by default what the free memory allows')
    parser.add_argument(
        '--dtype',
        choices=['float32', 'bfloat16', 'float16'],
        help='by default bfloat16 on a GPU that computes in it, or else float32',
    )
    for name, (kind, text) in GENERATOR.items():
        parser.add_argument(f'--{name.replace("_", "-")}', type=kind, help=f'{text}; by default what suits the SAM')
    add_debug(parser)
    return parser.parse_args()


def main(args):
    kinds = [args.form, *(['preview'] if args.preview else [])]
    try:
        found = find_photographs(args.photographs, args.out, kinds, mask_names, 'segment')
        check_writable(osp.join(args.out, 'masks'))
        if RANK == 0:
            print(f'loading PyTorch; then {args.sam} segments {len(found)} photographs', file=sys.stderr, flush=True)
        fill = prepare(args, {str(one.path): mask_names(one, kinds) for one in found})
    except (ImportError, OSError, ValueError) as error:
        # 1 is for photographs that could not be read.
        print(f'error: {error}', file=sys.stderr)
        sys.exit(2)
    broken = []
    filled = fill(pass_by=lambda error: broken.append(error) or report(error))
    print(f'{filled.computed} segmented by {args.sam}, {filled.ready - len(broken)} were ready, in {args.out}')
    wait_for_others()
    if broken:
        print(f'{len(broken)} of {len(found)} not segmented; they are named above', file=sys.stderr)
        sys.exit(1)


def mask_names(one, kinds):
    """The files of a photograph, below the folder of masks."""
    name = one.name.with_name(one.path.stem)
    files = dict(coco=f'{name}.json', label_maps=f'{name}.png', preview=f'preview/{name}.jpg')
    return {kind: files[kind] for kind in kinds}


def prepare(args, files):
    """What fills the folder; the SAM is built when a photograph is first segmented."""
    import torch

    from mmsampriors.masks import SAM_BUILDERS, MaskEngine, MaskFiles, build_sam, checkpoint_id, fill_cache
    from mmsampriors.masks.optional_packages import check_extra
    from mmsampriors.masks.sam.ops import fastest_exact_dtype

    if args.sam not in SAM_BUILDERS:
        raise ValueError(f'--sam is one of {", ".join(sorted(SAM_BUILDERS))}, found {args.sam!r}')
    check_extra(args.sam)
    local = f'cuda:{os.environ.get("LOCAL_RANK", 0)}'
    device = torch.device(args.device or (local if torch.cuda.is_available() else 'cpu'))
    given = {name: getattr(args, name) for name in GENERATOR if getattr(args, name) is not None}
    dtype = getattr(torch, args.dtype) if args.dtype else fastest_exact_dtype(device)

    @lru_cache(1)
    def engine():
        return MaskEngine(build_sam(args.sam, args.checkpoint).to(device), dtype=dtype, **given)

    # The same for all processes: the dtype that a device is given by itself is not among them.
    settings = dict(sam=args.sam, checkpoint=checkpoint_id(args.sam, args.checkpoint), dtype=args.dtype, **given)
    return partial(
        fill_cache,
        MaskFiles(args.out, files, settings),
        list(files),
        lambda images: engine().generate(images),
        shard=args.shard,
        worker=(RANK, PROCESSES),
        batch_size=args.batch_size,
        device=device,
    )


def report(error):
    from tqdm import tqdm

    tqdm.write(f'not segmented: {error}', file=sys.stderr)


def wait_for_others():
    """torchrun ends all processes where one ends with an error, so none does before all are through."""
    if PROCESSES > 1 and 'MASTER_ADDR' in os.environ:
        from torch import distributed

        distributed.init_process_group('gloo')
        distributed.barrier()
        distributed.destroy_process_group()


if __name__ == '__main__':
    run_tool(main, parse_args(), heavy=False)
