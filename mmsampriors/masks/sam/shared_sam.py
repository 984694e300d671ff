"""One SAM in memory, whoever asks for it."""

import os
from weakref import WeakValueDictionary

from torch import nn

from . import builders

_ALIVE = WeakValueDictionary()


def shared_sam(model_type: str, checkpoint: str = None) -> nn.Module:
    """A frozen SAM as :func:`.builders.build_sam` makes it, the same object as long as somebody holds it.

    Who asks must not change its weights, may move it to a device, and must expect that others move it.

    Args:
        model_type (str): As for ``build_sam``.
        checkpoint (str, optional): As for ``build_sam``.
    """
    # the builder too: another one may have been registered under the name
    key = (model_type, builders.SAM_BUILDERS.get(model_type), checkpoint and os.path.abspath(checkpoint))
    sam = _ALIVE.get(key)
    if sam is None:
        sam = _ALIVE[key] = builders.build_sam(model_type, checkpoint).requires_grad_(False)
    return sam
