"""gpu_check.py keeps every row, keeps to its time, and goes on where it ended. Its steps here are one-liners."""

import importlib.util
import json
import time
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / '.dev_scripts' / 'gpu_check.py'


@pytest.fixture
def check(tmp_path):
    spec = importlib.util.spec_from_file_location('gpu_check', SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.COMMITTED = tmp_path / 'no committed rows'
    return module


def call(check, tmp_path, monkeypatch, steps, *options):
    """One call; the names of the steps that ran, and how each ended."""
    steps = [check.Step(name, ['-c', code], seconds) for name, code, seconds in steps]
    monkeypatch.setattr(check, 'steps_of', lambda *folders: steps)
    monkeypatch.setattr('sys.argv', ['gpu_check.py', str(tmp_path / 'out'), *options])
    before = len(rows_of(tmp_path))
    check.main()
    return [(row['step'], row['ended']) for row in rows_of(tmp_path)[before:] if 'ended' in row]


def rows_of(tmp_path):
    path = tmp_path / 'out' / 'rows.jsonl'
    lines = path.read_text().splitlines() if path.exists() else []
    return [json.loads(line) for line in lines if line.endswith('}')]


ROW = 'print(\'{"name": "a", "median": 1}\')'


def test_rows_are_kept_and_a_second_call_goes_on(check, tmp_path, monkeypatch):
    monkeypatch.setattr(check, 'GRACE', 0.3)
    flag = tmp_path / 'works now'
    steps = [
        ('first', ROW, 20),
        ('fails', f'import os, sys; sys.exit(not os.path.exists({str(flag)!r}))', 20),
        ('slow', f'{ROW}; import time; time.sleep(30)', 1.0),
    ]
    begin = time.time()
    ended = call(check, tmp_path, monkeypatch, steps)
    assert ended == [('first', 'done'), ('fails', 'failed'), ('slow', 'cut off')] and time.time() - begin < 15
    assert [row['step'] for row in rows_of(tmp_path) if row.get('name') == 'a'] == ['first', 'slow']
    assert rows_of(tmp_path)[-1]['not_done'] == ['fails', 'slow']
    flag.touch()
    steps = [*steps[:2], ('slow', ROW, 20), ('new', ROW, 20)]
    with open(tmp_path / 'out' / 'rows.jsonl', 'a') as file:
        file.write('{"step": "new", "ended": "do')  # killed while it wrote
    assert call(check, tmp_path, monkeypatch, steps) == [('new', 'done'), ('fails', 'done'), ('slow', 'done')]
    assert call(check, tmp_path, monkeypatch, steps) == []


def test_half_a_line_is_no_row(check, tmp_path):
    path = tmp_path / 'rows.jsonl'
    path.write_text('{"step": "a", "ended": "done"}\n{"step": "b", "ended": "do')
    rows = check.Rows(path, tmp_path / 'absent')
    rows.add(dict(step='b', ended='failed'))
    again = check.Rows(path, tmp_path / 'absent')
    assert (again.ended('a'), again.ended('b'), again.ended('c')) == ('done', 'failed', '')


def test_an_empty_folder_begins_with_the_committed_rows(check, tmp_path):
    committed = tmp_path / 'committed.jsonl'
    committed.write_text('{"step": "a", "ended": "done"}\n')
    rows = check.Rows(tmp_path / 'rows.jsonl', committed)
    assert rows.ended('a') == 'done' and (tmp_path / 'rows.jsonl').read_text() == committed.read_text()


def test_nothing_is_started_without_time(check, tmp_path, monkeypatch):
    assert call(check, tmp_path, monkeypatch, [('first', ROW, 20)], '--minutes', '0.1') == []
    assert rows_of(tmp_path)[-1]['not_done'] == ['first']


def test_some_steps_alone(check, tmp_path, monkeypatch):
    steps = [('tests/gpu', ROW, 20), ('inference', ROW, 20)]
    assert call(check, tmp_path, monkeypatch, steps, '--steps', 'tests') == [('tests/gpu', 'done')]
    assert call(check, tmp_path, monkeypatch, steps) == [('inference', 'done')]


def test_what_is_missing_is_named(check, tmp_path, monkeypatch):
    steps = [('first', 'import a_package_that_is_nowhere', 20)]
    assert call(check, tmp_path, monkeypatch, steps) == [('first', 'failed')]
    assert "No module named 'a_package_that_is_nowhere'" in str(rows_of(tmp_path))


def test_every_step_starts_a_file_that_exists_with_options_that_it_has(check, tmp_path):
    root = SCRIPT.parents[1]
    for steps in (make(tmp_path, 'photographs', 'wallpapers') for make in (check.steps_of, check.toy_steps)):
        assert [step.kind for step in steps][0] == 'tests' and steps[-1].kind == 'evidence'
        for step in steps:
            script = root / (step.command[-1] if step.command[0] == '-m' else step.command[0])
            assert script.exists()
            text = '' if script.is_dir() else script.read_text()
            for option in step.command[1:]:
                if option.startswith('--') and text:
                    assert f"'{option}'" in text, (step.name, option)


def test_the_tests_come_first_and_what_has_no_end_last(check, tmp_path, monkeypatch):
    """Also where an earlier call has failed in them."""
    steps = [('tests/gpu', 'import sys; sys.exit(1)', 20), ('endless', ROW, float('inf')), ('inference', ROW, 20)]
    call(check, tmp_path, monkeypatch, steps[:1])
    ended = call(check, tmp_path, monkeypatch, steps)
    assert [name for name, _ in ended] == ['tests/gpu', 'inference', 'endless']
