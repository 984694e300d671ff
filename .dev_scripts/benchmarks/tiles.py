"""Measures the seconds and the memory that a large photograph takes, by the side of its tiles.

The network is a NAFNet with random weights, the photograph is noise: neither time nor memory depends on them. Each side
has a process of its own. Its memory is the most that the process held, PyTorch and mmagic included; ``before`` is what
it held when the network was ready. ``cpu_seconds`` are those of all threads: with one thread they do not depend on what
else the machine does. Prints one JSON object a line.

    python .dev_scripts/benchmarks/tiles.py --threads 1
    python .dev_scripts/benchmarks/tiles.py --size 4000 6000 --tiles auto
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))  # a script in a checkout runs the checkout, whatever is installed


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--size', nargs=2, type=int, default=[768, 1024], metavar=('H', 'W'))
    parser.add_argument('--tiles', nargs='+', default=['128', '256', '512', '1024'], help='sides in pixels, or auto')
    parser.add_argument('--width', type=int, default=32, help='of the NAFNet')
    parser.add_argument('--blocks', nargs='+', type=int, default=[1, 1, 1, 4], help='of its encoder, level by level')
    parser.add_argument('--device', default='cpu')
    parser.add_argument('--threads', type=int, default=2)
    parser.add_argument('--rounds', type=int, default=1, help='in which all sides take turns')
    parser.add_argument('--one', metavar='STUDENT', help=argparse.SUPPRESS)  # the process of one side
    return parser.parse_args()


def write_network(width: int, blocks: list, path: Path):
    """Writes a student whose NAFNet has random weights."""
    import mmsampriors.models  # noqa: F401  (before mmagic, which it mends)

    # isort: split
    from mmengine.config import Config
    from mmengine.registry import init_default_scope

    from mmsampriors.engine.export import write_student
    from mmsampriors.registry import MODELS

    init_default_scope('mmagic')
    generator = dict(type='NAFNet', img_channels=3, mid_channels=width, enc_blk_nums=blocks, middle_blk_num=1)
    generator['dec_blk_nums'] = [1] * len(blocks)
    model = dict(type='BaseEditModel', generator=generator, pixel_loss=dict(type='L1Loss'))
    state = {f'generator.{key}': value for key, value in MODELS.build(dict(generator)).state_dict().items()}
    write_student(state, Config(dict(default_scope='mmagic', model=model)), str(path))


def restore_once(args):
    """Restores the photograph in this process, and prints what that took."""
    import numpy as np
    import torch

    from mmsampriors.inference.restorer import Restorer

    torch.set_num_threads(args.threads)
    tile = args.tiles[0] if args.tiles[0] == 'auto' else int(args.tiles[0])
    restorer = Restorer(args.one, device=args.device, tile=tile)
    pixels = np.random.default_rng(0).integers(0, 256, (*args.size, 3), dtype=np.uint8)
    restorer.restore(pixels[:64, :64])
    side, before = restorer._tile_of(tuple(args.size)), peak()
    begin, cpu_begin = time.perf_counter(), time.process_time()
    restorer.restore(pixels)
    taken = dict(seconds=time.perf_counter() - begin, cpu_seconds=time.process_time() - cpu_begin)
    row = dict(tile=side, **{name: round(value, 1) for name, value in taken.items()}, peak_mb=peak(), before_mb=before)
    print(json.dumps(row), flush=True)


def peak() -> int:
    """The most that this process held so far, in MB (10^6 bytes)."""
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6)


def main():
    args = parse_args()
    if args.one:
        return restore_once(args)
    with tempfile.TemporaryDirectory() as folder:
        student = Path(folder) / 'student.pth'
        write_network(args.width, args.blocks, student)
        shared = ['--size', *args.size, '--device', args.device, '--threads', args.threads, '--one', student]
        for turn in range(args.rounds):
            for tile in args.tiles[:: -1 if turn % 2 else 1]:
                command = [sys.executable, '-W', 'ignore', __file__, *shared, '--tiles', tile]
                subprocess.run([str(word) for word in command], check=True)


if __name__ == '__main__':
    main()
