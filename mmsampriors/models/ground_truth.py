"""Which samples of a batch have a ground truth."""


def labelled_count(metainfo: dict, count: int) -> int:
    """How many of the samples of a batch have a ground truth; these come first.

    Args:
        metainfo (dict): Of the stacked data samples.
        count (int): Samples of the batch.

    Raises:
        ValueError: One without comes before one with, or none has one.
    """
    labelled = metainfo.get('labelled')
    if labelled is None:
        return count
    with_gt = sum(map(bool, labelled))
    if not with_gt or not all(labelled[:with_gt]):
        raise ValueError(
            f'samples with a ground truth must come first in a batch, and at least one; found labelled={labelled}'
        )
    return with_gt
