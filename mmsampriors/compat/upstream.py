"""What this package uses of mmagic and mmengine that is private to them."""

from typing import List, Optional, Tuple

from torch import Tensor


def normalization_of(preprocessor) -> Optional[Tuple[Tensor, Tensor]]:
    """Mean and standard deviation, (C, 1, 1) each, that a data preprocessor takes off; None where it takes none.

    ``_enable_normalize`` of mmengine 0.10.7's ImgDataPreprocessor, which mmagic 1.2.0's is.
    """
    return (preprocessor.mean, preprocessor.std) if preprocessor._enable_normalize else None


def let_transfers_run(preprocessor):
    """Lets a data preprocessor copy to its device without waiting; mmagic 1.2.0's takes no such option.

    ``_non_blocking`` of mmengine 0.10.7's BaseDataPreprocessor.
    """
    preprocessor._non_blocking = True


def accumulated_iterations(optim_wrapper) -> int:
    """Iterations whose gradients are added up to one step, at least 1.

    ``_accumulative_counts`` of mmengine 0.10.7's OptimWrapper.
    """
    return getattr(optim_wrapper, '_accumulative_counts', 1)


def restart_order(sampler):
    """Lets a sampler of one endless stream begin anew; others begin anew by themselves.

    ``_indices_of_rank`` of mmengine 0.10.7's InfiniteSampler.
    """
    if hasattr(sampler, '_indices_of_rank'):
        sampler.indices = sampler._indices_of_rank()


def stop_workers(loop):
    """Ends the worker processes that an iteration-based loop started when it was built.

    ``dataloader_iterator`` of mmengine 0.10.7's IterBasedTrainLoop, and ``_iterator`` of torch's DataLoader (2.1 to
    2.14), which keeps persistent workers alive.
    """
    loop.dataloader_iterator = loop.dataloader._iterator = None


def is_resumed(runner) -> bool:
    """Whether a run goes on from a checkpoint; ``_resume`` of mmengine 0.10.7's Runner."""
    return runner._resume


def default_store():
    """The store through which the processes of the default group found each other; of torch 2.1 to 2.14."""
    from torch.distributed.distributed_c10d import _get_default_store

    return _get_default_store()


def base_names(path: str) -> List[str]:
    """What a config file inherits, as it names it; a static method of mmengine 0.10.7's Config."""
    from mmengine.config import Config

    return Config._get_base_files(path)


def base_files(path: str) -> List[str]:
    """Files that a config file inherits; another static method of that Config."""
    from mmengine.config import Config

    return [Config._get_cfg_path(base, path)[0] for base in base_names(path)]


def decide_val_interval(loop):
    """Brings ``val_interval`` to where the loop is in ``train_cfg.dynamic_intervals``.

    mmengine's loop does so after an iteration, never before the first one of a resumed run.
    """
    loop._decide_current_val_interval()
