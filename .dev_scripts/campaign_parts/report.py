"""The table of a campaign."""

from typing import List

OUTCOMES = dict(same='goes on, equal bit by bit', named='an error names the file', lost='lost', wrong='wrong')
TRIALS = dict(kill='killed', fill='disk full', cut='cut off', flip='a bit flipped')


def report(rows: List[dict]) -> str:
    """The table in Markdown: a line for each tool or file and each kind of trial.

    Args:
        rows (list[dict]): As in ``rows.jsonl``: trial, name, outcome, and kills where there were some.
    """
    head = ['what', 'disturbed by', 'times', *OUTCOMES.values()]
    lines = [f'| {" | ".join(head)} |', f'|{" --- |" * len(head)}']
    totals = [0] * (1 + len(OUTCOMES))
    for trial, title in TRIALS.items():
        for name in sorted({row['name'] for row in rows if row['trial'] == trial}):
            counts = _counts([row for row in rows if (row['trial'], row['name']) == (trial, name)])
            totals = [total + count for total, count in zip(totals, counts)]
            lines.append(f'| {name} | {title} | {" | ".join(map(str, counts))} |')
    return '\n'.join([*lines, f'| **all** | | {" | ".join(map(str, totals))} |']) + '\n'


def _counts(rows) -> List[int]:
    """How often it was disturbed, and how many runs ended with each outcome."""
    # An error that does not name the file leaves the user without a way out.
    ends = ['wrong' if row['outcome'] == 'unnamed' else row['outcome'] for row in rows]
    return [sum(row.get('kills', 1) for row in rows), *map(ends.count, OUTCOMES)]
