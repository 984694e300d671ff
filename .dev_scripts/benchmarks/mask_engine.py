"""Times the mask engine against each SAM's own generator, on the same images and weights in the same process.

Prints one JSON object a line (a table without ``--json``). ``ratio`` is the stock generator's time over the engine's;
``median``, ``min`` and ``max`` are the engine's seconds an image. Weights are random where no checkpoint is given:
then the predicted-IoU threshold is set so that a share of the prompts survives (``--survive``), the stability threshold
at the median of those, and rows say so. Stock is slow on CPU: it is timed on ``--stock-prompts`` of the grid's prompts
and its decoder's time, which is linear in them, scaled up; rows say that too. Each repeat times stock with each
``--points-per-batch`` and then the engines, so that a machine whose speed varies treats them alike; stock's best batch
counts, by its median.

    python .dev_scripts/benchmarks/mask_engine.py --json --models small vit_b                            # two CPU cores
    python .dev_scripts/benchmarks/mask_engine.py --json --points-per-side 32 --stock-prompts 64 --points-per-batch 16 \
        --models sam2.1_t sam2.1_l hq_vit_b hq_vit_tiny mobile_sam                                       # two CPU cores
    python .dev_scripts/benchmarks/mask_engine.py --json --models vit_b vit_h --device cuda --images 8 \
        --stock-prompts 1024 --points-per-batch 64 256 1024 --dtypes float32 bfloat16 --fast  # one GPU
"""

import argparse
import statistics
import sys
from functools import partial
from importlib import import_module
from pathlib import Path

import numpy as np
import torch
from segment_anything.modeling import ImageEncoderViT, Sam
from skimage import data
from torch.nn import functional as F

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from report import Clock, Report  # noqa: E402

from mmsampriors.masks import MaskEngine, build_sam, pairwise_iou  # noqa: E402  (the checkout, installed or not)
from mmsampriors.masks.sam.builders import ARCHITECTURES, load_weights  # noqa: E402
from mmsampriors.masks.sam.encoder import encode_images  # noqa: E402
from mmsampriors.masks.sam.families import Sam2Images, sam_over  # noqa: E402
from mmsampriors.masks.sam.ops import stability_scores, to_encoder  # noqa: E402


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--models', nargs='+', default=['small', 'vit_b'], help='small, or what build_sam knows')
    parser.add_argument(
        '--checkpoints',
        nargs='*',
        default=[],
        metavar='MODEL=FILE',
        help='trained weights, used with --thresholds; the others get random ones',
    )
    parser.add_argument(
        '--thresholds',
        nargs=2,
        type=float,
        default=[0.88, 0.95],
        help='predicted IoU and stability, for trained weights',
    )
    parser.add_argument('--points-per-side', nargs='+', type=int, default=[32, 16])
    parser.add_argument('--survive', nargs='+', type=float, default=[0.1, 0.5])
    parser.add_argument('--dtypes', nargs='+', default=['float32'])
    parser.add_argument('--fast', action='store_true', help='also MaskEngine.fast, on the same images')
    parser.add_argument('--images', type=int, default=1, help='a batch')
    parser.add_argument('--size', nargs=2, type=int, default=[321, 481], metavar=('H', 'W'))
    parser.add_argument('--stock-prompts', type=int, default=256)
    parser.add_argument(
        '--points-per-batch', nargs='+', type=int, default=[2, 16, 64], help='of stock; the best counts'
    )
    parser.add_argument('--repeats', type=int, default=3)
    parser.add_argument('--device', default='cpu')
    parser.add_argument('--threads', type=int, default=2)
    parser.add_argument(
        '--cpu-seconds', action='store_true', help='time by CPU seconds, on a machine that is busy; with --threads 1'
    )
    parser.add_argument('--json', action='store_true')
    return parser.parse_args()


def small_sam() -> Sam:
    """7.7M parameters at 256 pixels: a ViT of width 192 and depth 6, SAM's usual decoder, 16 x 16 image tokens."""
    return sam_over(
        ImageEncoderViT(
            depth=6,
            embed_dim=192,
            img_size=256,
            mlp_ratio=4,
            norm_layer=partial(torch.nn.LayerNorm, eps=1e-6),
            num_heads=3,
            patch_size=16,
            qkv_bias=True,
            use_rel_pos=True,
            global_attn_indexes=(2, 5),
            window_size=7,
            out_chans=256,
        )
    )


def get_sam(name: str, checkpoints: dict, device: str) -> tuple:
    """The SAM for the engine, and the model of the same weights that its own package's generator takes."""
    torch.manual_seed(0)
    if name not in ARCHITECTURES:
        sam = model = build_sam(name, checkpoints[name]) if name in checkpoints else small_sam()
    else:
        model = ARCHITECTURES[name]()
        sam = Sam2Images(model) if name.startswith('sam2.') else model
        if name in checkpoints:
            load_weights(model, checkpoints[name], name)
    if name not in checkpoints:
        decoder = sam.mask_decoder
        # Stock filters by predicted IoU only where the threshold is positive.
        decoder.iou_prediction_head.layers[-1].bias.data += 1
        for mlp in [*decoder.output_hypernetworks_mlps, *([decoder.hf_mlp] if hasattr(decoder, 'hf_mlp') else [])]:
            mlp.layers[-1].weight.data *= 100  # logits beyond the two cuts of the stability score
    stock = model
    if name.startswith('hq_'):
        stock = import_module('segment_anything_hq').sam_model_registry[name[3:]]()
        stock.load_state_dict(model.state_dict())
    elif name == 'mobile_sam':
        stock = import_module('mobile_sam').sam_model_registry['vit_t']()
        stock.load_state_dict(model.state_dict())
    return tuple(one.eval().requires_grad_(False).to(device) for one in (sam, stock))


def generator_of(name: str, stock: torch.nn.Module, points_per_side: int, points_per_batch: int, thresholds: dict):
    """The generator of the SAM's own package."""
    if name.startswith('sam2.'):
        kind = import_module('sam2.automatic_mask_generator').SAM2AutomaticMaskGenerator
    else:
        package = 'segment_anything_hq' if name.startswith('hq_') else name if name == 'mobile_sam' else None
        kind = import_module(package or 'segment_anything').SamAutomaticMaskGenerator
    return kind(stock, points_per_side, points_per_batch, **thresholds)


def get_images(count: int, size: list) -> list:
    """(3, H, W), uint8, photographs that come with scikit-image."""
    photographs = [data.astronaut(), data.coffee(), data.chelsea(), data.rocket()]
    images = []
    for i in range(count):
        image = torch.from_numpy(np.roll(photographs[i % 4], 40 * (i // 4), 1).copy()).permute(2, 0, 1)[None].float()
        images.append(F.interpolate(image, size, mode='bilinear', antialias=True)[0].round().byte())
    return images


@torch.no_grad()
def random_thresholds(sam: Sam, images: list, points_per_side: int, survive: float) -> dict:
    """Thresholds that let a share of the prompts pass with one mask or more, and half of their masks after that."""
    engine, size = MaskEngine(sam, points_per_side), tuple(images[0].shape[1:])
    image = images[0].float().to(sam.device)
    state = engine.image_state(encode_images(sam.image_encoder, to_encoder([image], sam, engine.resolution)))
    points = engine.points_on((size,), image.device)[:: max(1, len(engine.grid) // 64)]
    scores, prompts = engine.decoder.decode(state, engine.prompt_embeddings(points))
    threshold = scores.amax(1).quantile(1 - survive).item()
    some = (scores > threshold).any(1).nonzero().flatten()[:32]
    selected = engine.decoder.select(state, prompts, some, state.grid)
    logits = engine.decoder.masks(state, selected, (scores[some] > threshold).flatten().nonzero().flatten())
    stability = stability_scores(engine.resizer_of(state, size)(logits), sam.mask_threshold, 1.0)
    return dict(pred_iou_thresh=threshold, stability_score_thresh=stability.nanmedian().item(), box_nms_thresh=0.7)


def encoding_apart(predictor):
    """A predictor that keeps the image that its ``encode`` was given, so that what comes after is timed alone."""
    predictor.encode = predictor.set_image
    predictor.set_image = predictor.reset_image = predictor.reset_predictor = lambda *args, **kwargs: None
    return predictor


class Stock:
    """The stock generator on some prompts of its grid, with several sizes of its batches of prompts."""

    def __init__(self, name: str, stock, images: list, thresholds: dict, args, points_per_side: int) -> None:
        self.arrays = [image.permute(1, 2, 0).contiguous().numpy() for image in images]
        self.generators = {n: generator_of(name, stock, points_per_side, n, thresholds) for n in args.points_per_batch}
        first = next(iter(self.generators.values()))
        self.predictor, grid = encoding_apart(first.predictor), first.point_grids[0]
        self.total, self.timed = len(grid), min(args.stock_prompts, len(grid))
        chosen = grid[np.random.default_rng(0).permutation(len(grid))[: self.timed]]
        for generator in self.generators.values():
            generator.point_grids, generator.predictor = [chosen], self.predictor
        self.encoder, self.decoder = [], {n: [] for n in self.generators}

    def time(self, clock: Clock) -> None:
        """Once more; seconds an image for the whole grid come to ``encoder`` and ``decoder``."""
        encoder, decoder = 0.0, dict.fromkeys(self.generators, 0.0)
        for array in self.arrays:
            encoder += clock(lambda: self.predictor.encode(array))
            for n, generator in self.generators.items():
                decoder[n] += clock(lambda: generator.generate(array))
        self.encoder.append(encoder / len(self.arrays))
        for n, seconds in decoder.items():
            self.decoder[n].append(seconds / len(self.arrays) * self.total / self.timed)

    @property
    def best(self) -> int:
        """Prompts a batch with the shortest median."""
        return min(self.decoder, key=lambda n: statistics.median(self.decoder[n]))


class Timed:
    """One setting of the engine: seconds an image of the encoder and of everything, and the masks found."""

    def __init__(self, engine: MaskEngine, images: list) -> None:
        self.engine, self.images, self.encoder, self.times, self.found = engine, images, [], [], None
        self.scaled = [image.float().to(engine.sam.device) for image in images]

    def time(self, clock: Clock) -> None:
        self.encoder.append(clock(self._encode) / len(self.images))
        self.times.append(clock(self.generate) / len(self.images))

    def generate(self) -> None:
        self.found = self.engine.generate(self.images)

    @torch.no_grad()
    def _encode(self) -> None:
        engine = self.engine
        with torch.autocast(engine.sam.device.type, engine.dtype, enabled=engine.dtype != torch.float32):
            encode_images(engine.sam.image_encoder, to_encoder(self.scaled, engine.sam, engine.resolution))


def mean_best_iou(found: list, exact: list) -> float:
    """Mean best IoU of masks, both directions, mean over images."""
    values = []
    for a, b in zip(found, exact):
        if len(a) == 0 or len(b) == 0:
            values.append(float(len(a) == len(b)))
            continue
        iou = pairwise_iou(a.bitmaps, b.bitmaps)
        values.append((iou.amax(1).mean() + iou.amax(0).mean()).item() / 2)
    return statistics.mean(values)


def run_setting(
    args, report: Report, sam, stock: Stock, images: list, name: str, points: int, thresholds: dict
) -> None:
    """All rows of one model, grid and pair of thresholds."""
    clock = Clock(args.device, args.cpu_seconds)
    engines = {}
    for dtype in args.dtypes:
        options = dict(dtype=getattr(torch, dtype), **thresholds)
        engines[dtype] = Timed(MaskEngine(sam, points, **options), images)
        if args.fast:
            engines[f'{dtype}/fast'] = Timed(MaskEngine.fast(sam, **options), images)
    for engine in engines.values():
        engine.generate()  # warms up
    for _ in range(args.repeats):
        stock.time(clock)
        for engine in engines.values():
            engine.time(clock)
    encoder, decoder = statistics.median(stock.encoder), statistics.median(stock.decoder[stock.best])
    more = {key: round(value, 4) for key, value in thresholds.items()}
    report(
        f'{name}/stock',
        [encoder + time for time in stock.decoder[stock.best]],
        's/image',
        encoder=encoder,
        decoder=decoder,
        prompts_timed=stock.timed,
        points_per_batch=stock.best,
        **more,
    )
    for setting, engine in engines.items():
        total, encoding = statistics.median(engine.times), statistics.median(engine.encoder)
        report(
            f'{name}/{setting}',
            engine.times,
            's/image',
            ratio=(encoder + decoder) / total,
            masks=sum(map(len, engine.found)),
            encoder=encoding,
            encoder_ratio=encoder / encoding,
            decoder=total - encoding,
            decoder_ratio=decoder / (total - encoding),
            agreement_with_first=mean_best_iou(engine.found, engines[args.dtypes[0]].found),
        )


def main() -> None:
    args = parse_args()
    torch.set_num_threads(args.threads)
    report, images = Report(args.json, args.device), get_images(args.images, args.size)
    checkpoints = dict(item.split('=', 1) for item in args.checkpoints)
    for model in args.models:
        sam, stock = get_sam(model, checkpoints, args.device)
        for points in args.points_per_side:
            name = f'mask_engine/{model}/{points}x{points}'
            settings = {f'random weights, {survive:.0%} survive': survive for survive in args.survive}
            for setting, survive in ({'trained': None} if model in checkpoints else settings).items():
                if survive is None:
                    thresholds = dict(zip(('pred_iou_thresh', 'stability_score_thresh'), args.thresholds))
                else:
                    thresholds = random_thresholds(sam, images, points, survive)
                timed = Stock(model, stock, images, thresholds, args, points)
                run_setting(args, report, sam, timed, images, f'{name}/{setting}', points, thresholds)


if __name__ == '__main__':
    main()
