"""Trains the small SAM of the package: makes scenes, trains, exports half-precision weights.

A killed run goes on where its last checkpoint was when the same command is given again:

    apt-get install tuxpaint-stamps-default mate-backgrounds
    python .dev_scripts/train_sam_tiny.py --work-dir work_dirs/sam_tiny

The weights are then in WORK_DIR/sam_tiny.safetensors; ``.dev_scripts/judge_sam_tiny.py`` judges them.
"""

import argparse
import re
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from mmengine import DictAction
from safetensors.torch import save_file
from segment_anything.modeling.transformer import Attention
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from mmsampriors.files import written_whole  # noqa: E402  (the checkout, installed or not)
from mmsampriors.masks.sam.tiny import (  # noqa: E402
    BACKBONE_HASH,
    EMBEDDING_DIM,
    EMBEDDING_STRIDE,
    backbone_hash,
    tiny_architecture,
)
from mmsampriors.masks.sam.tiny_encoder import Lite0Pyramid  # noqa: E402
from tiny_sam_training.losses import GroupingLoss, assignment_loss, mask_costs, mask_ious  # noqa: E402
from tiny_sam_training.pool import GREY, KINDS, MASK_STRIDE, Clicks, ScenePool, make_pool  # noqa: E402

SAVE_EVERY = 60  # seconds
SHARPNESS = 4.0
SHARDS = dict(scenes=12, painted=4, pasted=20, plain=8)
PARTS = ('sam', 'grouping', 'coarse')


def parse_args():
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument('--work-dir', default='work_dirs/sam_tiny', help='scenes and checkpoints')
    parser.add_argument('--out', default=None, help='weights to write; WORK_DIR/sam_tiny.safetensors without it')
    parser.add_argument('--steps', type=int, default=12000, help='optimiser steps')
    parser.add_argument('--minutes', type=float, default=float('inf'), help='longest time for the steps')
    parser.add_argument('--decay', type=float, default=0.25, help='last share, in which the rate falls to zero')
    parser.add_argument('--batch', type=int, default=2, help='images a step')
    parser.add_argument('--prompts', type=int, default=8, help='prompts an image; twice as many in windows')
    parser.add_argument('--lr', type=float, default=1.0e-3, help='highest learning rate')
    parser.add_argument(
        '--shards', nargs='+', action=DictAction, default={}, help=f'hundreds of scenes a kind, of {list(KINDS)}'
    )
    parser.add_argument('--seed', type=int, default=1, help='of scenes, clicks and weights')
    parser.add_argument('--workers', type=int, default=2, help='processes that make scenes, and then batches')
    parser.add_argument('--threads', type=int, default=2, help='each with a share of the batch')
    parser.add_argument('--device', default='cuda' if torch.cuda.is_available() else 'cpu')
    return parser.parse_args()


class Trainer:
    """The Sam without its backbone, its running average, the optimiser, and how far they are."""

    def __init__(self, args):
        torch.manual_seed(args.seed)
        self.args, self.step, self.seconds = args, 0, 0.0
        self.sam = tiny_architecture()
        del self.sam.image_encoder.backbone  # is neither trained nor saved
        self.backbone = Lite0Pyramid().to(args.device, memory_format=torch.channels_last)
        tie_attention(self.sam)
        liven_masks(self.sam.mask_decoder)
        self.sam.to(args.device)
        self.grouping = GroupingLoss(EMBEDDING_DIM).to(args.device)
        # A fixed readout of the image tokens: without it they learn late to tell what the prompt asked for.
        self.coarse = torch.nn.Conv2d(EMBEDDING_DIM, 3, 1).to(args.device)
        self.average = {k: v.detach().clone() for k, v in self.sam.state_dict().items()}
        self.parameters = [p for part in PARTS for p in getattr(self, part).parameters()]
        self.threads = ThreadPoolExecutor(args.threads)
        decayed = [p for p in self.parameters if p.ndim > 1]
        self.optimizer = torch.optim.AdamW(
            [
                dict(params=decayed, weight_decay=0.05),
                dict(params=[p for p in self.parameters if p.ndim <= 1], weight_decay=0),
            ],
            lr=args.lr,
            betas=(0.9, 0.98),
        )
        self.checkpoint = Path(args.work_dir) / 'last.pth'

    def start(self, batch: Clicks):
        """Takes up the last checkpoint where there is one; else fits the laterals to a batch."""
        if not self.checkpoint.exists():
            level_laterals(self.sam.image_encoder.neck, self.pyramid(batch))
            return
        state = torch.load(self.checkpoint, map_location=self.args.device, weights_only=True)
        self.step, self.seconds, self.average = state['step'], state['seconds'], state['average']
        for part in (*PARTS, 'optimizer'):
            getattr(self, part).load_state_dict(state[part])

    def save(self):
        """Writes the checkpoint and the weights, each whole."""
        state = {part: getattr(self, part).state_dict() for part in (*PARTS, 'optimizer')}
        state.update(step=self.step, seconds=self.seconds, average=self.average)
        with written_whole(self.checkpoint) as part:
            torch.save(state, part)
        weights = {
            key: value.half().contiguous() if value.is_floating_point() else value
            for key, value in sharpened(self.average).items()
        }
        with written_whole(self.args.out or Path(self.args.work_dir) / 'sam_tiny.safetensors') as part:
            save_file(weights, part, metadata={BACKBONE_HASH: backbone_hash()})

    def rate(self) -> float:
        """Warm-up, plateau, linear decay."""
        return self.args.lr * min(1, (self.step + 1) / 200, (1 - self.done) / self.args.decay)

    @property
    def done(self) -> float:
        """Share of the training that is done, 1 at its end."""
        return min(1, max(self.step / self.args.steps, self.seconds / (60 * self.args.minutes)))

    @torch.no_grad()
    def pyramid(self, batch: Clicks) -> tuple:
        """The backbone's features of a batch, at strides 4, 8, 16 and 32."""
        pixels = batch.pixels.float().sub(GREY).div(128).contiguous(memory_format=torch.channels_last)
        return tuple(level.contiguous() for level in self.backbone(pixels))

    def train_step(self, batch: Clicks) -> dict:
        """One optimiser step; returns the figures of the step as floats."""
        for group in self.optimizer.param_groups:
            group['lr'] = self.rate()
        count = self.args.threads
        shares = [Clicks(**{key: value[i::count] for key, value in vars(batch).items()}) for i in range(count)]
        gradients, figures = zip(*self.threads.map(self._gradients, shares))
        for parameter, *parts in zip(self.parameters, *gradients):
            parameter.grad = torch.stack(parts).mean(0)
        torch.nn.utils.clip_grad_norm_(self.parameters, 1.0)
        self.optimizer.step()
        self.step += 1
        self._update_average()
        return {key: float(np.mean([f[key] for f in figures])) for key in figures[0]}

    def _gradients(self, batch: Clicks) -> tuple:
        """Gradients of a share of the batch, and its figures as floats.

        Shares run in threads of one core each: small layers scale badly within an operator.
        """
        torch.set_num_threads(1)
        losses, quality = self.losses(batch)
        gradients = torch.autograd.grad(sum(losses.values()), self.parameters, materialize_grads=True)
        return gradients, {**{k: v.item() for k, v in losses.items()}, **quality}

    def losses(self, batch: Clicks) -> tuple:
        """The losses of a batch, and the mean IoU of the best of three per kind of target."""
        embeddings = self.sam.image_encoder.neck(*self.pyramid(batch))
        logits, predicted, keys = self._decode(embeddings, batch)
        targets, weights = batch.targets.flatten(0, 1), batch.weights.flatten(0, 1)
        cells = slice(MASK_STRIDE // 2, None, MASK_STRIDE)
        valid = batch.inside[:, None, cells, cells].float().repeat_interleave(batch.points.shape[1], 0)
        costs, ious = mask_costs(logits, targets, valid), mask_ious(logits, targets, valid)
        coarse = mask_costs(self.coarse(keys), F.avg_pool2d(targets, 4), F.avg_pool2d(valid, 4))
        rows, chosen = torch.arange(len(costs), device=costs.device), batch.chosen.flatten()
        boxed = batch.boxed.repeat_interleave(batch.points.shape[1])
        single = costs[rows, 0, chosen] * weights[rows, chosen] * torch.where(boxed, 1, 0.2)
        reached = (ious * weights[:, None]).amax(2)
        vectors = embeddings.flatten(2).gather(2, batch.cells[:, None].expand(-1, embeddings.shape[1], -1))
        losses = {
            'mask': (assignment_loss(costs[:, 1:], weights) * ~boxed).mean(),
            'coarse': (assignment_loss(coarse, weights) * ~boxed).mean(),
            'single': single.mean(),
            'iou': iou_loss(predicted, reached, weights.any(1)),
            'group': self.grouping(vectors, batch.leaves, batch.objects),
        }
        best = (ious[:, 1:].amax(1) * weights)[~boxed].sum(0) / weights[~boxed].sum(0).clamp(min=1)
        return losses, dict(zip(('leaf', 'object', 'group_iou'), best.tolist()))

    def _decode(self, embeddings: Tensor, batch: Clicks) -> tuple:
        """``MaskDecoder.predict_masks`` for several images, each in its window.

        Returns:
            tuple[Tensor]: Logits (B * P, 4, h, w), predicted IoU (B * P, 4), and image tokens (B * P, C, h/4, w/4)
            after the transformer.
        """
        encoder, decoder, count = self.sam.prompt_encoder, self.sam.mask_decoder, batch.points.shape[1]
        points = batch.points.flatten(0, 1)[:, None]
        clicks, dense = encoder(points=(points, torch.ones_like(points[..., 0])), boxes=None, masks=None)
        boxes, _ = encoder(points=None, boxes=batch.boxes.flatten(0, 1), masks=None)
        prompts = torch.where(batch.boxed.repeat_interleave(count)[:, None, None], boxes, clicks)
        tokens = torch.cat([decoder.iou_token.weight, decoder.mask_tokens.weight])
        tokens = torch.cat([tokens.expand(len(prompts), -1, -1), prompts], 1)
        side = batch.inside.shape[-1] // EMBEDDING_STRIDE
        keys, position = (
            torch.cat([grid[i, None, :, r : r + side, c : c + side] for i, (r, c) in enumerate(batch.corner.tolist())])
            for grid in (embeddings + dense[:1], encoder.get_dense_pe().expand_as(embeddings))
        )
        keys, position = (grid.repeat_interleave(count, 0) for grid in (keys, position))
        tokens, keys_out = decoder.transformer(keys, position, tokens)
        keys_out = keys_out.transpose(1, 2).reshape(keys.shape)
        upscaled = decoder.output_upscaling(keys_out)
        hyper = torch.stack([mlp(tokens[:, 1 + i]) for i, mlp in enumerate(decoder.output_hypernetworks_mlps)], 1)
        logits = (hyper @ upscaled.flatten(2)).unflatten(2, upscaled.shape[-2:])
        return logits, decoder.iou_prediction_head(tokens[:, 0]), keys_out

    @torch.no_grad()
    def _update_average(self):
        decay = min(0.999, (1 + self.step) / (10 + self.step))
        for key, value in self.sam.state_dict().items():
            self.average[key].lerp_(value, 1 - decay)


def sharpened(state: dict) -> dict:
    """Multiplies the mask logits: no mask changes, but the stability score does.

    Focal loss leaves logits of a few tenths, and the stability score asks where masks end at logits of -1 and 1.
    """
    last = re.compile(r'output_hypernetworks_mlps\.\d+\.layers\.2\.')
    return {key: value * SHARPNESS if last.search(key) else value for key, value in state.items()}


@torch.no_grad()
def tie_attention(sam):
    """Starts the decoder where it looks at the click already, and compares the image with what is there.

    With equal projections of queries and keys, like attends to like: the click's positional code to its place, the
    image to tokens of its own content. With values handed on unchanged in a subspace, what the click saw stays
    comparable. From random weights the decoder spends its first thousands of steps on finding that out.
    """
    for module in sam.mask_decoder.transformer.modules():
        if isinstance(module, Attention) and module.internal_dim < module.embedding_dim:
            module.q_proj.weight *= 4.2
            module.k_proj.weight.copy_(module.q_proj.weight)
            torch.nn.init.orthogonal_(module.v_proj.weight)
            module.out_proj.weight.copy_(module.v_proj.weight.T)
            for projection in (module.q_proj, module.k_proj, module.v_proj, module.out_proj):
                projection.bias.zero_()
    sam.image_encoder.neck.embedding_norm.weight *= 0.3
    for embedding in (
        sam.mask_decoder.iou_token,
        sam.mask_decoder.mask_tokens,
        *sam.prompt_encoder.point_embeddings,
        sam.prompt_encoder.not_a_point_embed,
        sam.prompt_encoder.no_mask_embed,
    ):
        embedding.weight *= 0.25


@torch.no_grad()
def liven_masks(decoder):
    """Starts the mask logits at unit deviation over the pixels.

    They are a product of two small numbers otherwise; the cheapest way down is then a constant for each output, and
    the decoder stays there.
    """
    for layer in decoder.output_upscaling:
        if isinstance(layer, torch.nn.ConvTranspose2d):
            torch.nn.init.normal_(layer.weight, std=(2 / layer.in_channels) ** 0.5)
            layer.bias.zero_()
    for mlp in decoder.output_hypernetworks_mlps:
        for layer in mlp.layers:
            torch.nn.init.kaiming_normal_(layer.weight)
            layer.bias.zero_()
        mlp.layers[-1].weight *= 0.35


@torch.no_grad()
def level_laterals(neck, features: list):
    """Starts each stride of the pyramid at unit deviation: the backbone's own differ by a factor of ten."""
    laterals = (neck.lateral4, neck.lateral8, neck.lateral16, neck.lateral32)
    for lateral, level in zip(laterals, features):
        lateral.weight /= (lateral(level) - lateral.bias[:, None, None]).std()
        lateral.bias.zero_()


def iou_loss(predicted: Tensor, reached: Tensor, counts: Tensor) -> Tensor:
    """Squared error of the predicted IoU over the prompts that count."""
    return ((predicted - reached) ** 2 * counts[:, None]).sum() / (4 * counts.sum()).clamp(min=1)


def main():
    args = parse_args()
    torch.set_num_threads(1)
    torch.set_float32_matmul_precision('high')
    kinds = make_pool(Path(args.work_dir) / 'scenes', args.seed, {**SHARDS, **args.shards}, args.workers)
    pool = ScenePool(kinds, args.seed, args.batch, args.prompts)
    trainer = Trainer(args)
    trainer.start(pool[0].to(args.device))
    steps = range(trainer.step, args.steps)
    loader = torch.utils.data.DataLoader(pool, batch_size=None, sampler=steps, num_workers=args.workers)
    history, saved, begin = [], time.monotonic(), time.monotonic() - trainer.seconds
    bar = tqdm(loader, initial=trainer.step, total=args.steps, desc='train', unit='step', mininterval=5)
    for batch in bar:
        history = history[-199:] + [trainer.train_step(batch.to(args.device))]
        trainer.seconds = time.monotonic() - begin
        if trainer.step % 20 == 0:
            bar.set_postfix({k: f'{np.mean([h[k] for h in history]):.3f}' for k in history[0]}, refresh=False)
        if time.monotonic() - saved > SAVE_EVERY or trainer.done == 1:
            trainer.save()
            saved = time.monotonic()
        if trainer.done == 1:
            break


if __name__ == '__main__':
    main()
