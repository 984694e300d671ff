"""Point prompts, embedded without asking the device which of them are which."""

import torch
from segment_anything.modeling import PromptEncoder
from torch import Tensor, nn


def embed_points(encoder: nn.Module, points: Tensor) -> Tensor:
    """What a prompt encoder makes of prompts of one foreground point each.

    segment_anything looks up the label of each point on the device, and waits for the answer four times. Here all
    labels are known: a foreground point, and the padding that stock adds where no box is given.

    Args:
        encoder (nn.Module): Any encoder but segment_anything's own is asked itself.
        points (Tensor): (Q, 2), x and y in pixels of the encoder's input.

    Returns:
        Tensor: (Q, 2, C).
    """
    points = points[:, None]
    if type(encoder) is not PromptEncoder:
        labels = torch.ones(len(points), 1, dtype=torch.int, device=points.device)
        return encoder(points=(points, labels), boxes=None, masks=None)[0]
    placed = encoder.pe_layer.forward_with_coords(points + 0.5, encoder.input_image_size)  # centres of pixels
    foreground, padding = encoder.point_embeddings[1].weight, encoder.not_a_point_embed.weight
    return torch.cat([placed + foreground, padding.expand(len(points), 1, -1)], 1)
