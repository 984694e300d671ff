"""What the precision of the analyzer's convolutions does to L_SGR, on the CPU.

Tensor cores round the factors of a product and add up in float32. Here the factors of each convolution, forward and
backward, are rounded to the mantissa of TF32 (10 bits) and bfloat16 (7 bits). The target is the image moved towards the
ground truth, so that both are some dB apart. Prints one JSON object a line: by how much the losses move, and the cosine
between the gradients at the image.
"""

import argparse
import json
import sys
from contextlib import contextmanager
from pathlib import Path

# A script in a checkout runs the checkout, whatever is installed.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import mmsampriors  # noqa: F401  (before mmagic, which it mends)

# isort: split
import torch  # noqa: E402
import torch.nn.functional as F  # noqa: E402
from skimage import data  # noqa: E402
from torch import Tensor, nn  # noqa: E402

from mmsampriors.models import Regions, SGRLoss  # noqa: E402
from mmsampriors.registry import MODELS, build_part  # noqa: E402

MANTISSAS = dict(tf32=10, bfloat16=7)


def rounded(numbers: Tensor, bits: int) -> Tensor:
    """float32 numbers to the nearest with a mantissa of ``bits`` bits, half to even."""
    whole = numbers.contiguous().view(torch.int32)
    dropped = 23 - bits
    whole = whole + (1 << (dropped - 1)) - 1 + (whole >> dropped & 1)
    return (whole >> dropped << dropped).view(torch.float32)


class RoundedConvolution(torch.autograd.Function):
    """A convolution of rounded factors whose gradient is one too; weights get none."""

    @staticmethod
    def forward(ctx, image, weight, bias, settings, bits):
        ctx.save_for_backward(image, weight)
        ctx.settings, ctx.bits = settings, bits
        return F.conv2d(rounded(image, bits), rounded(weight, bits), bias, *settings)

    @staticmethod
    def backward(ctx, gradient):
        image, weight = ctx.saved_tensors
        weight, gradient = rounded(weight, ctx.bits), rounded(gradient, ctx.bits)
        return (nn.grad.conv2d_input(image.shape, weight, gradient, *ctx.settings), *[None] * 4)


@contextmanager
def rounding(bits: int):
    """Rounds the factors of every ``nn.Conv2d`` in the body."""
    convolve = nn.Conv2d._conv_forward

    def rounded_convolution(self, image, weight, bias):
        settings = (self.stride, self.padding, self.dilation, self.groups)
        return RoundedConvolution.apply(image, weight, bias, settings, bits)

    nn.Conv2d._conv_forward = rounded_convolution
    try:
        yield
    finally:
        nn.Conv2d._conv_forward = convolve


def photographs(size: int) -> Tensor:
    """(4, 3, size, size), RGB in [0, 1]."""
    images = [torch.from_numpy(getattr(data, name)()) for name in ('astronaut', 'chelsea', 'coffee', 'rocket')]
    return torch.stack([image[40 : 40 + size, 120 : 120 + size].permute(2, 0, 1).float() / 255 for image in images])


def losses_and_gradient(analyzer, image: Tensor, target: Tensor, regions: Regions) -> tuple:
    """L_SGR's parts at a weight of 1, and the gradient of their sum at the image."""
    image = image.clone().requires_grad_()
    with torch.no_grad():
        theirs = analyzer(target)
    losses = SGRLoss(loss_weight=1.0, relative=False)(analyzer(image), theirs, regions)
    (gradient,) = torch.autograd.grad(sum(losses.values()), image)
    return {name: loss.item() for name, loss in losses.items()}, gradient


def compare(analyzer, decibels: float, size: int) -> dict:
    """For each format: the largest relative change of a loss, and the mean cosine of the gradients."""
    gt = photographs(size)
    image = (gt + 0.1 * torch.randn_like(gt)).clamp(0, 1)
    regions = Regions(build_part(MODELS, dict(type='FelzenszwalbMasks', min_size=50)).segment(gt), gt)
    distance = -10 * (gt - image).square().mean().log10().item()
    target = image + (gt - image) * 10 ** ((distance - decibels) / 20)
    losses, gradient = losses_and_gradient(analyzer, image, target, regions)
    found = {}
    for name, bits in MANTISSAS.items():
        with rounding(bits):
            others, turned = losses_and_gradient(analyzer, image, target, regions)
        found[name] = dict(
            loss_change=max(abs(others[key] / losses[key] - 1) for key in losses),
            gradient_cosine=F.cosine_similarity(turned.flatten(1), gradient.flatten(1)).mean().item(),
        )
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--decibels', nargs='+', type=float, default=[35.0, 40.0, 45.0, 50.0])
    parser.add_argument('--size', type=int, default=128, help='of the patches, in pixels')
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    analyzer = build_part(MODELS, dict(type='EfficientNetAnalyzer', stage=2)).eval().requires_grad_(False)
    for decibels in args.decibels:
        for name, row in compare(analyzer, decibels, args.size).items():
            print(json.dumps(dict(decibels=decibels, format=name, **row)), flush=True)


if __name__ == '__main__':
    main()
