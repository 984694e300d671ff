"""What the quickstart shows."""

import io
import sys
from types import SimpleNamespace

from mmsampriors.quickstart.progress import COST, TRAININGS, Console, Plan, training_bar


def test_stages_are_shown_and_chatter_goes_to_the_log(tmp_path, capsys):
    console = Console(str(tmp_path / 'log'), stages=2)
    with console.kept_clear():
        console.begin('rain')
        print('to stdout')
        print('to stderr', file=sys.stderr)
    shown = capsys.readouterr()
    assert shown.out == '[1/2] rain\n' and shown.err == ''
    assert (tmp_path / 'log').read_text() == 'to stdout\nto stderr\n'


def test_bar_counts_what_two_trainings_in_turn_cost():
    plan = Plan('config.py', 'out', first=5, refiner=4, then=6)
    total = sum(plan.cost(name, plan.steps(name)) for name in TRAININGS)
    assert total == 5 * COST['plain'] + 4 * COST['refiner'] + 6 * COST['student']
    assert plan.cost('spd', 3) == 3 * COST['refiner'] and plan.cost('plain', 6) == 0
    shown = io.StringIO()
    with training_bar(total, SimpleNamespace(err=shown)) as bar:
        bar.update(total)
    assert shown.getvalue().startswith('100%')
