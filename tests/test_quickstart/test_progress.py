"""What the quickstart shows."""

import io
import sys
from types import SimpleNamespace

from mmsampriors.models import TwoStageSchedule
from mmsampriors.quickstart.progress import COST, Console, ProgressHook, training_bar


def test_stages_are_shown_and_chatter_goes_to_the_log(tmp_path, capsys):
    console = Console(str(tmp_path / 'log'), stages=2)
    with console.kept_clear():
        console.begin('rain')
        print('to stdout')
        print('to stderr', file=sys.stderr)
    shown = capsys.readouterr()
    assert shown.out == '[1/2] rain\n' and shown.err == ''
    assert (tmp_path / 'log').read_text() == 'to stdout\nto stderr\n'


def test_bar_ends_at_a_hundred_percent_for_a_resumed_spd_training():
    schedule, shown = TwoStageSchedule(refiner=0.4), io.StringIO()
    runner = SimpleNamespace(model=SimpleNamespace(schedule=schedule), max_iters=10, iter=3)
    total = 4 * COST['refiner'] + 6 * COST['student']
    with training_bar(total, SimpleNamespace(err=shown)) as bar:
        hook = ProgressHook(bar.update)
        hook.before_train(runner)
        for runner.iter in range(3, 10):
            hook.after_train_iter(runner, 0)
        assert bar.n == total
    assert shown.getvalue().startswith('100%')


def test_an_update_of_plain_training_costs_what_one_of_a_warmup_does():
    reports = []
    ProgressHook(reports.append).after_train_iter(SimpleNamespace(model=SimpleNamespace(), max_iters=5, iter=1), 0)
    assert reports == [COST['warmup']]
