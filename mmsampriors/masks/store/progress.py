"""One line that shows how far all workers are."""

from typing import Callable, Sequence

from tqdm import tqdm


class SharedProgress:
    """A progress bar over the images of this process and of others, whose entries are looked for.

    Args:
        own (int): Images that this process has to compute.
        others (Sequence[ndarray]): For each other worker the indices of its images, in the order in which it works.
        is_there (Callable): Whether the masks of an image, by its index, are there.
        shown (bool): Whether anything is shown.
    """

    def __init__(self, own: int, others: Sequence[list], is_there: Callable, shown: bool):
        self.others, self.places, self.is_there = others, [0] * len(others), is_there
        self.total, self.done = own + sum(map(len, others)), 0
        self.bar = tqdm(total=self.total, desc='computing masks', unit='image', disable=not (shown and self.total))

    def __enter__(self) -> 'SharedProgress':
        return self

    def __exit__(self, *error) -> None:
        self._show()
        self.bar.close()

    def update(self, images: int) -> None:
        """This process has computed ``images`` more."""
        self.done += images
        self._show()

    def forget(self, own: bool) -> None:
        """An image turned out to have its masks; one of the own share counts as done."""
        self.update(int(own))

    def _show(self) -> None:
        for number, share in enumerate(self.others):
            while self.places[number] < len(share) and self.is_there(share[self.places[number]]):
                self.places[number] += 1
                self.done += 1
        # What two workers did counts once: there are never more than all.
        self.bar.update(min(self.done, self.total) - self.bar.n)
