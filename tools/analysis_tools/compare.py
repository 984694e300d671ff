"""Compares runs: ``compare.py RUN_A RUN_B ...``, each the work folder of a run that tools/test.py has tested.

Prints a table of means and standard deviations over seeds, with the differences to the first run or group in brackets,
and writes it as compare.md and compare.csv, with a plot, compare.png. Runs whose names differ only in the seed at their
end (spd_seed0 and spd_seed1, or spd/seed0 and spd/seed1) are one group; --group names groups by hand. The limits of a
difference are its 95 % interval over pairs of runs of the same seed.
"""

import argparse
import os.path as osp
import sys

sys.path.insert(0, osp.dirname(osp.dirname(osp.dirname(osp.abspath(__file__)))))

from mmsampriors.files import MadeFiles  # noqa: E402
from mmsampriors.images import split_by_reference  # noqa: E402
from mmsampriors.reports import (  # noqa: E402
    compare_runs,
    csv_text,
    draw_differences,
    draw_validations,
    gather,
    markdown_table,
    read_tested,
    read_validated,
    show_value,
)
from mmsampriors.reports.run_comparison import name_of  # noqa: E402

FILES = ('compare.md', 'compare.csv', 'compare.png')


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('runs', metavar='RUN', nargs='*', help='work folder of a run')
    parser.add_argument(
        '--group',
        metavar=('NAME', 'RUN'),
        nargs='+',
        action='append',
        default=[],
        help='a name and the work folders of its runs; may be repeated',
    )
    parser.add_argument(
        '--val',
        action='store_true',
        help='compare the validations of the trainings, at the last step that all have, instead of the tests',
    )
    parser.add_argument('--metric', nargs='+', help='only these metrics')
    parser.add_argument('--out', default='work_dirs/compare', help='folder of the results')
    args = parser.parse_args()
    for group in args.group:
        if len(group) < 2:
            parser.error(f'--group takes a name and at least one run; found {group[0]!r} alone')
    if not args.runs and not args.group:
        parser.error('name at least one run')
    return args


def runs_of(args):
    """The runs of the command line with what was measured of them; and, of validations, the step and all steps."""
    named = [(*name_of(run), run) for run in args.runs]
    named += [(name, name_of(run)[1], run) for name, *runs in args.group for run in runs]
    runs = gather(named, read_validated if args.val else read_tested)
    if not args.val:
        return runs, None
    steps = set.intersection(*(set(run.values) for run in runs))
    if not steps:
        raise ValueError(
            'the runs have no validated step in common:\n'
            + '\n'.join(f'  {run.work_dir}: {", ".join(map(str, run.values))}' for run in runs)
        )
    curves = {}
    for run in runs:
        curves.setdefault(run.group, []).append(run.values)
    return [run._replace(values=run.values[max(steps)]) for run in runs], (max(steps), curves)


def with_metrics(runs, metrics):
    """The runs with these metrics."""
    known = {metric for run in runs for _, metric in run.values}
    unknown = sorted(set(metrics) - known)
    if unknown:
        raise ValueError(f'no run has the metric {", ".join(unknown)}; there are {", ".join(sorted(known))}')
    return [run._replace(values={key: value for key, value in run.values.items() if key[1] in metrics}) for run in runs]


def comparison_table(cells):
    """The tables in markdown: a line a measure, and a column a group; metrics without reference below the others."""
    against, without = split_by_reference(dict.fromkeys(cell.metric for cell in cells))
    tables = [_table([cell for cell in cells if cell.metric in metrics]) for metrics in (against, without) if metrics]
    return '\n\nWithout reference:\n\n'.join(tables) if against else tables[0]


def _table(cells):
    groups = {cell.group: len(cell.values) for cell in cells}
    header = ['test set', 'metric', *(f'{group} (n={count})' for group, count in groups.items())]
    lines = [cells[start : start + len(groups)] for start in range(0, len(cells), len(groups))]
    return markdown_table(header, [[line[0].test_set, line[0].metric, *map(show, line)] for line in lines])


def show(cell):
    """Mean ± deviation, and in brackets the difference to the first group."""
    text = show_value(cell.metric, cell.level.mean)
    if cell.level.std is not None:
        text += f' ± {show_value(cell.metric, cell.level.std)}'
    if cell.difference is None:
        return text
    mean, *limits = (value if value is None else _signed(cell.metric, value) for value in cell.difference)
    return f'{text} ({mean})' if None in limits else f'{text} ({mean} [{", ".join(limits)}])'


def _signed(metric, value):
    return ('+' if value >= 0 else '') + show_value(metric, value)


def write_comparison(made, title, cells, curves):
    """Writes ``FILES``."""
    header = ['test_set', 'metric', 'group', 'runs', 'mean', 'std', 'difference', 'low', 'high']
    lines = [
        [cell.test_set, cell.metric, cell.group, len(cell.values), *cell.level, *(cell.difference or (None,) * 3)]
        for cell in cells
    ]
    picture = (
        draw_differences(cells)
        if curves is None
        else draw_validations(list(dict.fromkeys((cell.test_set, cell.metric) for cell in cells)), curves)
    )
    for name, content in zip(FILES, (f'{title}\n\n{comparison_table(cells)}\n', csv_text(header, lines), picture)):
        made.write(name, content)


def main():
    args = parse_args()
    made = MadeFiles(args.out, 'compare')
    try:
        made.refuse_changed(FILES)
        runs, validated = runs_of(args)
        cells, left_out = compare_runs(with_metrics(runs, args.metric) if args.metric else runs)
    except (OSError, ValueError) as error:
        hint = '' if args.val else '\nTo compare the validations of the trainings instead: --val'
        sys.exit(f'error: {error}{hint if isinstance(error, FileNotFoundError) else ""}')
    title = 'Tests' if validated is None else f'Validation at step {validated[0]}, the last that all runs have'
    write_comparison(made, title, cells, validated and validated[1])
    print(f'{title}\n\n{comparison_table(cells)}\n')
    if left_out:
        print(f'Left out, for some runs lack them: {", ".join(map(" ".join, left_out))}')
    print(f'In {args.out}: {", ".join(FILES)}')


if __name__ == '__main__':
    main()
