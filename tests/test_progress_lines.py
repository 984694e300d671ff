"""Progress where the output is no terminal."""

import io

import pytest

from mmsampriors import progress as module
from mmsampriors.progress import progress_bar


@pytest.fixture
def clock(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(module.time, 'monotonic', lambda: now[0])
    return now


def lines_of(clock, seconds_each, count, **options):
    shown = io.StringIO()
    for _ in progress_bar(range(count), shown, desc='masks', unit='image', **options):
        clock[0] += seconds_each
    assert '\r' not in shown.getvalue()
    return shown.getvalue().splitlines()


def test_a_line_each_tenth(clock):
    lines = lines_of(clock, 0.1, 1000)
    assert len(lines) == 10
    assert lines[0] == 'masks: 10%, 100 of 1000 images, 90 s left' and lines[-1].startswith('masks: 100%')


def test_a_line_each_thirty_seconds_where_a_tenth_takes_longer(clock):
    assert len(lines_of(clock, 15, 100)) == 50


def test_what_is_over_in_a_moment_is_one_line(clock):
    assert len(lines_of(clock, 0.001, 100)) == 1


def test_what_is_not_to_be_shown_is_not(clock):
    assert not lines_of(clock, 15, 100, disable=True)


def test_bytes_and_a_total_that_is_not_known(clock):
    shown = io.StringIO()
    with progress_bar(file=shown, total=None, unit='B', unit_scale=True) as bar:
        clock[0] += 31
        bar.update(25_000_000)
    assert shown.getvalue() == '25 MB, 31 s\n'
