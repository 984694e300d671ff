"""Settings of a degradation: each a fixed value, or a range from which every image draws its own."""

import math
from dataclasses import dataclass, field, fields


def setting(default, low: float, high: float, description: str):
    """Declares one setting of a :class:`Settings` table, with its limits (inclusive) and what it means."""
    return field(default=default, metadata=dict(low=low, high=high, description=description))


@dataclass(frozen=True, kw_only=True)
class Settings:
    """A table of settings; the subclasses name them. Each is a number or a pair (lowest, highest).

    Raises:
        ValueError: A value is no number and no pair, is outside its limits, or a pair runs backwards.
    """

    def __post_init__(self):
        for item in fields(self):
            value = getattr(self, item.name)
            if value is not None:
                _check(item, value)

    def draw(self, rng) -> dict[str, float | None]:
        """Draws each setting uniformly from its range, in the order of the table; what is None stays None."""
        # A fixed value also consumes a draw, so that fixing one setting leaves those after it as they were.
        return {item.name: _draw(rng, getattr(self, item.name)) for item in fields(self)}


def _draw(rng, value):
    position = rng.random()
    if value is None:
        return None
    low, high = _ends(value)
    return low + position * (high - low)


def _ends(value) -> tuple[float, float]:
    return tuple(value) if isinstance(value, (tuple, list)) else (value, value)


def _check(item, value):
    ends = _ends(value)
    numbers = len(ends) == 2 and all(isinstance(end, (int, float)) and math.isfinite(end) for end in ends)
    if not numbers or ends[0] > ends[1]:
        raise ValueError(f'{item.name} takes a number, or a pair (lowest, highest); found {value!r}')
    low, high = item.metadata['low'], item.metadata['high']
    if ends[0] < low or ends[1] > high:
        raise ValueError(f'{item.name} must lie within {low:g} and {high:g}; found {value!r}')
