"""Tables of measurements: on the screen, in markdown and as CSV."""

import csv
import io
from typing import List, Sequence

DIGITS = dict(PSNR=2, BorderPSNR=2, SSIM=4)
NOTHING = '-'


def show_value(metric: str, value) -> str:
    """A measured value with the digits that are usual for its metric; a dash for None.

    Args:
        metric (str): Its name, without a prefix.
        value (float, optional): The value.
    """
    if value is None:
        return NOTHING
    return f'{value:.{DIGITS[metric]}f}' if metric in DIGITS else f'{value:.4g}'


def text_table(header: Sequence[str], rows: List[Sequence[str]]) -> str:
    """Columns for the screen: the first to the left, the others to the right."""
    widths = [max(len(row[column]) for row in [header, *rows]) for column in range(len(header))]

    def line(row):
        first, *others = (
            cell.ljust(width) if index == 0 else cell.rjust(width)
            for index, (cell, width) in enumerate(zip(row, widths))
        )
        return '  '.join([first, *others]).rstrip()

    return '\n'.join([line(header), '  '.join('-' * width for width in widths), *map(line, rows)])


def markdown_table(header: Sequence[str], rows: List[Sequence[str]]) -> str:
    """The same in markdown."""
    lines = [header, ['---'] + ['---:'] * (len(header) - 1), *rows]
    return '\n'.join('| ' + ' | '.join(cell.replace('|', '\\|') for cell in line) + ' |' for line in lines)


def csv_text(header: Sequence[str], rows: List[Sequence]) -> str:
    """The same as CSV; numbers with all their digits, nothing for None."""
    text = io.StringIO()
    csv.writer(text, lineterminator='\n').writerows([header, *rows])
    return text.getvalue()
