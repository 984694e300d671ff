"""Trains the small SAM of the package from nothing: makes the scenes, trains, exports half-precision weights.

A killed run goes on where its last checkpoint was when the same command is given again.
"""

import argparse
import re
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from segment_anything.modeling.transformer import Attention
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from mmsampriors.files import written_whole  # noqa: E402
from mmsampriors.masks.sam.tiny import EMBEDDING_DIM, tiny_architecture  # noqa: E402  (the checkout, installed or not)
from tiny_sam_training.losses import GroupingLoss, assignment_loss, mask_costs, mask_ious  # noqa: E402
from tiny_sam_training.pool import MASK_STRIDE, Clicks, ScenePool, make_pool  # noqa: E402

SAVE_EVERY = 200  # steps
SHARPNESS = 4.0


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--work-dir', default='work_dirs/sam_tiny', help='scenes and checkpoints')
    parser.add_argument('--out', default=None, help='weights to write; defaults to WORK_DIR/sam_tiny.safetensors')
    parser.add_argument('--steps', type=int, default=12000, help='optimiser steps')
    parser.add_argument('--decay-steps', type=int, default=2500, help='last steps, in which the rate falls to zero')
    parser.add_argument('--batch', type=int, default=4, help='images a step')
    parser.add_argument('--small-steps', type=int, default=3000, help='first steps, on windows of 128 pixels')
    parser.add_argument('--prompts', type=int, default=8, help='prompts an image')
    parser.add_argument('--lr', type=float, default=1.5e-3, help='highest learning rate')
    parser.add_argument('--shards', type=int, default=40, help='procedural scenes in hundreds')
    parser.add_argument('--painted-shards', type=int, default=20, help='photographs painted anew, in hundreds')
    parser.add_argument('--seed', type=int, default=1, help='of scenes, augmentation and weights')
    parser.add_argument('--workers', type=int, default=2, help='processes that make scenes')
    parser.add_argument('--threads', type=int, default=2, help='each with a share of the batch')
    parser.add_argument('--device', default='cuda' if torch.cuda.is_available() else 'cpu')
    return parser.parse_args()


class Trainer:
    """The Sam, its running average, the optimiser, and how far they are."""

    def __init__(self, args):
        torch.manual_seed(args.seed)
        self.args, self.step = args, 0
        self.sam = tiny_architecture()
        tie_attention(self.sam)
        liven_masks(self.sam.mask_decoder)
        self.sam.to(args.device)
        self.sam.image_encoder.to(memory_format=torch.channels_last)
        self.grouping = GroupingLoss(EMBEDDING_DIM).to(args.device)
        # A fixed readout of the image tokens: without it they learn late to tell what the prompt asked for.
        self.coarse = torch.nn.Conv2d(EMBEDDING_DIM, 3, 1).to(args.device)
        self.average = {k: v.detach().clone() for k, v in self.sam.state_dict().items()}
        self.parameters = [*self.sam.parameters(), *self.grouping.parameters(), *self.coarse.parameters()]
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

    def resume(self):
        """Takes up the last checkpoint where there is one."""
        if self.checkpoint.exists():
            state = torch.load(self.checkpoint, map_location=self.args.device, weights_only=True)
            self.step, self.average = state['step'], state['average']
            for part in ('sam', 'grouping', 'coarse', 'optimizer'):
                getattr(self, part).load_state_dict(state[part])

    def save(self):
        """Writes the checkpoint and the weights, each whole."""
        state = {part: getattr(self, part).state_dict() for part in ('sam', 'grouping', 'coarse', 'optimizer')}
        state.update(step=self.step, average=self.average)
        with written_whole(self.checkpoint) as part:
            torch.save(state, part)
        weights = {
            key: value.half().contiguous() if value.is_floating_point() else value
            for key, value in sharpened(self.average).items()
        }
        out = Path(self.args.out or Path(self.args.work_dir) / 'sam_tiny.safetensors')
        with written_whole(out) as part:
            save_file(weights, part)

    def rate(self) -> float:
        """Warm-up, plateau, linear decay."""
        left = (self.args.steps - self.step) / self.args.decay_steps
        return self.args.lr * min(1, (self.step + 1) / 200, left)

    def train_step(self, batch: Clicks) -> dict:
        """One optimiser step; returns the figures of the step as floats."""
        for group in self.optimizer.param_groups:
            group['lr'] = self.rate()
        tensors = {key: value for key, value in vars(batch).items() if key != 'corner'}
        shares = [
            Clicks(batch.corner, **{k: v[i :: self.args.threads] for k, v in tensors.items()})
            for i in range(self.args.threads)
        ]
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
        pixels = (batch.images - self.sam.pixel_mean) / self.sam.pixel_std
        inside = _inside(batch.valid, pixels.shape[-1])
        embeddings = self.sam.image_encoder(
            (pixels * inside).contiguous(memory_format=torch.channels_last), batch.corner
        )
        logits, predicted, keys = self._decode(embeddings, batch)
        targets, weights = batch.targets.flatten(0, 1), batch.weights.flatten(0, 1)
        cells = slice(MASK_STRIDE // 2, None, MASK_STRIDE)
        valid = inside[:, :, cells, cells].repeat_interleave(batch.points.shape[1], 0)
        costs, ious = mask_costs(logits, targets, valid), mask_ious(logits, targets, valid)
        coarse = mask_costs(self.coarse(keys), F.avg_pool2d(targets, 4), F.avg_pool2d(valid, 4))
        rows, chosen = torch.arange(len(costs), device=costs.device), batch.chosen.flatten()
        boxed = _boxed(batch).flatten()
        single = costs[rows, 0, chosen] * weights[rows, chosen] * torch.where(boxed, 1, 0.2)
        reached = (ious * weights[:, None]).amax(2)
        losses = {
            'mask': (assignment_loss(costs[:, 1:], weights) * ~boxed).mean(),
            'coarse': (assignment_loss(coarse, weights) * ~boxed).mean(),
            'single': single.mean(),
            'iou': iou_loss(predicted, reached, weights.any(1)),
            'group': self.grouping(embeddings, batch.leaves, batch.objects),
        }
        best = (ious[:, 1:].amax(1) * weights)[~boxed].sum(0) / weights[~boxed].sum(0).clamp(min=1)
        return losses, dict(zip(('leaf', 'object', 'group_iou'), best.tolist()))

    def _decode(self, embeddings: Tensor, batch: Clicks) -> tuple:
        """``MaskDecoder.predict_masks`` for several images.

        Returns:
            tuple[Tensor]: Logits (B * P, 4, h, w), predicted IoU (B * P, 4), and image tokens (B * P, C, h/4, w/4)
            after the transformer.
        """
        encoder, decoder = self.sam.prompt_encoder, self.sam.mask_decoder
        rows, columns = (slice(start, start + side) for start, side in zip(batch.corner, embeddings.shape[-2:]))
        points = batch.points.flatten(0, 1)[:, None]
        clicks, dense = encoder(points=(points, torch.ones_like(points[..., 0])), boxes=None, masks=None)
        boxes, _ = encoder(points=None, boxes=batch.boxes.flatten(0, 1), masks=None)
        prompts = torch.where(_boxed(batch).flatten()[:, None, None], boxes, clicks)
        tokens = torch.cat([decoder.iou_token.weight, decoder.mask_tokens.weight])
        tokens = torch.cat([tokens.expand(len(prompts), -1, -1), prompts], 1)
        keys = embeddings.repeat_interleave(batch.points.shape[1], 0) + dense[..., rows, columns]
        position = encoder.get_dense_pe()[..., rows, columns].expand_as(keys)
        tokens, keys_out = decoder.transformer(keys, position, tokens)
        upscaled = decoder.output_upscaling(keys_out.transpose(1, 2).reshape(keys.shape))
        hyper = torch.stack([mlp(tokens[:, 1 + i]) for i, mlp in enumerate(decoder.output_hypernetworks_mlps)], 1)
        logits = (hyper @ upscaled.flatten(2)).unflatten(2, upscaled.shape[-2:])
        return logits, decoder.iou_prediction_head(tokens[:, 0]), keys_out.transpose(1, 2).reshape(keys.shape)

    @torch.no_grad()
    def _update_average(self):
        decay = min(0.999, (1 + self.step) / (10 + self.step))
        for key, value in self.sam.state_dict().items():
            if value.is_floating_point():
                self.average[key].lerp_(value, 1 - decay)
            else:
                self.average[key].copy_(value)


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
    sam.image_encoder.neck_norm.weight *= 0.3
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


def iou_loss(predicted: Tensor, reached: Tensor, counts: Tensor) -> Tensor:
    """Squared error of the predicted IoU over the prompts that count."""
    return ((predicted - reached) ** 2 * counts[:, None]).sum() / (4 * counts.sum()).clamp(min=1)


def _boxed(batch: Clicks) -> Tensor:
    """(B, P) bool: an image in eight or so is prompted with boxes, the others with clicks."""
    return (batch.points[:, :1, 0] % 8 == 0).expand_as(batch.chosen)


def _inside(valid: Tensor, size: int) -> Tensor:
    """(B, 1, size, size), 1 within each image's height and width."""
    line = torch.arange(size, device=valid.device)
    return ((line[:, None] < valid[:, :1, None]) & (line < valid[:, 1:, None]))[:, None].float()


def main():
    args = parse_args()
    torch.set_num_threads(1)
    Path(args.work_dir).mkdir(parents=True, exist_ok=True)
    kinds = make_pool(Path(args.work_dir) / 'scenes', args.seed, args.shards, args.painted_shards, args.workers)
    trainer = Trainer(args)
    trainer.resume()
    pool = ScenePool(kinds, args.seed, args.batch, args.prompts, args.small_steps)
    loader = torch.utils.data.DataLoader(pool, batch_size=None, sampler=range(trainer.step, args.steps), num_workers=1)
    history = []
    bar = tqdm(loader, initial=trainer.step, total=args.steps, desc='train', unit='step', mininterval=5)
    for batch in bar:
        batch = Clicks(**{k: v if k == 'corner' else v.to(args.device) for k, v in vars(batch).items()})
        history = history[-199:] + [trainer.train_step(batch)]
        if trainer.step % 20 == 0:
            bar.set_postfix({k: f'{np.mean([h[k] for h in history]):.3f}' for k in history[0]}, refresh=False)
        if trainer.step % SAVE_EVERY == 0 or trainer.step == args.steps:
            trainer.save()


if __name__ == '__main__':
    main()
