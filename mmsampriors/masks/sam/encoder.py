"""Image encoders of every family; segment_anything's at any resolution, with fused attention."""

from typing import NamedTuple

import torch
from segment_anything.modeling import ImageEncoderViT
from segment_anything.modeling.image_encoder import Attention, Block, window_partition, window_unpartition
from torch import Tensor, nn
from torch.nn import functional as F

#: What an intermediate result may take on CPU. Larger ones come from the system anew each time, page by page, which
#: takes longer than writing them.
CPU_BYTES = 8 * 2**20


class Embeddings(NamedTuple):
    """What an image encoder makes of I images.

    Attributes:
        image (Tensor): (I, C, h, w), the image embeddings.
        finer (tuple[Tensor]): (I, c, H, W) each, what the mask decoder of some families takes beside them.
    """

    image: Tensor
    finer: tuple = ()

    def to(self, dtype: torch.dtype) -> 'Embeddings':
        """The same in another type."""
        return Embeddings(self.image.to(dtype), tuple(finer.to(dtype) for finer in self.finer))


class EarlyImageEncoder(ImageEncoderViT):
    """segment_anything's image encoder, whose tokens after its first global attention the mask decoder takes too.

    HQ-SAM's is this one: same weights, same names.
    """


def takes_any_size(encoder: nn.Module) -> bool:
    """Whether :func:`encode_images` can run ``encoder`` at other sizes than its own, and with fused attention."""
    return type(encoder) in (ImageEncoderViT, EarlyImageEncoder)


def check_resolution(encoder: nn.Module, side: int):
    """Refuses a size of images, in pixels, that ``encoder`` does not take.

    Raises:
        ValueError: It takes only its own, or multiples of its patches.
    """
    if not takes_any_size(encoder):
        if side != encoder.img_size:
            raise ValueError(
                f'{type(encoder).__name__} encodes images of {encoder.img_size} pixels only, found {side}: leave '
                'resolution out'
            )
        return
    patch = encoder.patch_embed.proj.stride[0]
    if side % patch:
        raise ValueError(f'resolution must be a multiple of the {patch} pixels of a patch, found {side}')


def encode_images(encoder: nn.Module, images: Tensor) -> Embeddings:
    """Embeds square images.

    Args:
        encoder (nn.Module): An ``ImageEncoderViT`` runs with fused attention and takes images of other sizes, to which
            its position embeddings are interpolated. Any other encoder runs as it is, at its own size: through
            ``embed``, which returns ``Embeddings``, where it has that, or else through its ``forward``.
        images (Tensor): (I, 3, S, S), normalised.

    Raises:
        ValueError: Another encoder's own size is not S.
    """
    if not takes_any_size(encoder):
        check_resolution(encoder, images.shape[-1])
        return encoder.embed(images) if hasattr(encoder, 'embed') else Embeddings(encoder(images))
    x, early = encoder.patch_embed(images), ()
    if encoder.pos_embed is not None:
        x = x + _position(encoder.pos_embed, tuple(x.shape[1:3]))
    for block in encoder.blocks:
        x = _run_block(block, x)
        if type(encoder) is EarlyImageEncoder and block.window_size == 0 and not early:
            early = (x.permute(0, 3, 1, 2),)
    return Embeddings(encoder.neck(x.permute(0, 3, 1, 2)), early)


def _position(embedding: Tensor, size: tuple) -> Tensor:
    """(1, h, w, C), the position embedding at another size of the grid."""
    if embedding.shape[1:3] == size:
        return embedding
    return F.interpolate(embedding.permute(0, 3, 1, 2), size, mode='bicubic').permute(0, 2, 3, 1)


def _run_block(block: Block, x: Tensor) -> Tensor:
    """``Block.forward`` with :func:`_attend`."""
    if type(block) is not Block or type(block.attn) is not Attention:
        return block(x)
    attended, size = block.norm1(x), x.shape[1:3]
    if block.window_size > 0:
        attended, padded = window_partition(attended, block.window_size)
        attended = window_unpartition(_attend(block.attn, attended), block.window_size, padded, tuple(size))
    else:
        attended = _attend(block.attn, attended)
    x = x + attended
    tokens = x.flatten(0, 2)
    parts = tokens.split(_at_once(tokens, 4 * tokens.shape[1]))
    return torch.cat([part + block.mlp(block.norm2(part)) for part in parts]).view_as(x)


def _at_once(x: Tensor, numbers: int) -> int:
    """How many tokens to take at once, at most, if ``numbers`` like those of ``x`` are computed of each."""
    return max(1, CPU_BYTES // (numbers * x.itemsize)) if x.device.type == 'cpu' else x.numel()


def _attend(attention: Attention, x: Tensor) -> Tensor:
    """``Attention.forward``, without all N by N matrices in memory at once."""
    batch, height, width, _ = x.shape
    qkv = attention.qkv(x).view(batch, height * width, 3, attention.num_heads, -1)
    query, key, value = qkv.permute(2, 0, 3, 1, 4)  # (B, H, N, c)
    if not attention.use_rel_pos:
        out = F.scaled_dot_product_attention(query, key, value, scale=attention.scale)
    else:
        grid = query.unflatten(2, (height, width))
        rows = grid @ relative_positions(attention.rel_pos_h, height, query.dtype)
        columns = grid.transpose(2, 3) @ relative_positions(attention.rel_pos_w, width, query.dtype)
        attend = attend_with_bias if x.device.type == 'cpu' else attend_with_wider_keys
        out = attend(query, key, value, rows.flatten(2, 3), columns.transpose(2, 3).flatten(2, 3), attention.scale)
    return attention.proj(out.transpose(1, 2).reshape(batch, height, width, -1))


def relative_positions(embedding: Tensor, length: int, dtype: torch.dtype) -> Tensor:
    """What ``get_rel_pos`` of segment_anything gathers by a table that it makes on the host at each call.

    Position i - j is row i - j + length - 1, so that each query sees a window of the embedding, backwards.

    Args:
        embedding (Tensor): (L, c), of all relative positions; interpolated where L is not 2 * length - 1.
        length (int): Of a side of the grid.
        dtype (torch.dtype): Of the result; interpolated before.

    Returns:
        Tensor: (length, c, length), for query i, channel and key j.
    """
    wanted = 2 * length - 1
    if len(embedding) != wanted:
        embedding = F.interpolate(embedding.T[None], wanted, mode='linear')[0].T
    return embedding.to(dtype).unfold(0, length, 1).flip(2)


def attend_with_bias(query: Tensor, key: Tensor, value: Tensor, rows: Tensor, columns: Tensor, scale: float) -> Tensor:
    """Attention with decomposed relative positions, added as a bias, one head at a time: the faster form on CPU.

    Args:
        query, key, value (Tensor): (B, H, N, c), N = h * w.
        rows (Tensor): (B, H, N, h), what a query adds to all keys of a row.
        columns (Tensor): (B, H, N, w), the same for columns.
        scale (float): Of the products of queries and keys.

    Returns:
        Tensor: (B, H, N, c).
    """
    out = torch.empty_like(value)
    at_once = _at_once(query, len(query) * key.shape[2])
    for head in range(query.shape[1]):
        one = slice(head, head + 1)
        for start in range(0, query.shape[2], at_once):
            part = slice(start, start + at_once)
            bias = (rows[:, one, part, :, None] + columns[:, one, part, None, :]).flatten(-2)
            out[:, one, part] = F.scaled_dot_product_attention(
                query[:, one, part], key[:, one], value[:, one], attn_mask=bias, scale=scale
            )
    return out


def attend_with_wider_keys(
    query: Tensor, key: Tensor, value: Tensor, rows: Tensor, columns: Tensor, scale: float
) -> Tensor:
    """As :func:`attend_with_bias`, in a form that fused kernels take: positions as further channels.

    The row and column of a key, one-hot, are appended to it, and ``rows`` and ``columns`` to the query: their product
    is the bias, and no N by N matrix is needed.
    """
    height, width, channels = rows.shape[-1], columns.shape[-1], value.shape[-1]
    row = torch.eye(height, dtype=key.dtype, device=key.device).repeat_interleave(width, 0)
    column = torch.eye(width, dtype=key.dtype, device=key.device).repeat(height, 1)
    place = torch.cat([row, column], 1).expand(*key.shape[:2], -1, -1)
    query, key = torch.cat([query * scale, rows, columns], -1), torch.cat([key, place], -1)
    wide = -(-query.shape[-1] // 8) * 8  # fused kernels want one width for all, a multiple of 8
    query, key, value = (F.pad(x, (0, wide - x.shape[-1])) for x in (query, key, value))
    return F.scaled_dot_product_attention(query, key, value, scale=1.0)[..., :channels]
