"""A pickle module for ``torch.load(pickle_module=...)`` that reads what checkpoints hold, and calls nothing else.

It stands in for ``weights_only=True`` where torch (below 2.4) cannot be told of mmengine's ``HistoryBuffer``.
"""

import pickle

import torch._weights_only_unpickler as weights_only

#: Besides tensors, which torch's own list names: mmengine's log, whose numbers are numpy's.
NAMES = {
    'mmengine.logging.history_buffer.HistoryBuffer',
    'numpy.dtype',
    'numpy.ndarray',
    *(f'numpy.{core}.multiarray.{name}' for core in ('core', '_core') for name in ('_reconstruct', 'scalar')),
}


class Unpickler(pickle.Unpickler):
    """Refuses every global that is in neither list."""

    def find_class(self, module, name):
        path = f'{module}.{name}'.replace('__builtin__.', 'builtins.')
        if path == 'builtins.getattr':
            return statistic_of_history
        known = weights_only._get_allowed_globals()
        if path not in NAMES and path not in known:
            raise pickle.UnpicklingError(
                f'a checkpoint asks for {path}, which no checkpoint of weights needs: it may be malicious and is not '
                'loaded'
            )
        return known[path] if path in known else super().find_class(module, name)


def load(file, **options):
    """As ``pickle.load``."""
    return Unpickler(file, **options).load()


def statistic_of_history(owner, name: str):
    """The ``getattr`` that a checkpoint may call: HistoryBuffer's own statistics and nothing else."""
    from mmengine.logging import HistoryBuffer

    if owner is not HistoryBuffer or name not in ('min', 'max', 'mean', 'current'):
        raise ValueError(
            f'a checkpoint asks for the attribute {name!r} of {owner!r}, which no mmengine checkpoint '
            'needs: it may be malicious and is not loaded'
        )
    return getattr(owner, name)
