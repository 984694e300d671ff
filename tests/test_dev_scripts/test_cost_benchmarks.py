"""The benchmarks of training and inference run, print what they promise, and find what can be known beforehand."""

import importlib
import json
from pathlib import Path

import pytest
import torch
from torch import nn

FOLDER = Path(__file__).resolve().parents[2] / '.dev_scripts' / 'benchmarks'


@pytest.fixture
def benchmark(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    return importlib.import_module


def rows_of(module, arguments, monkeypatch, capsys, model='nafnet-tiny'):
    small = ['--json', '--models', model, '--threads', '1']
    monkeypatch.setattr('sys.argv', [module.__name__, *small, *arguments])
    module.main()
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert all({'name', 'median', 'min', 'max', 'unit', 'hardware'} <= set(row) for row in rows)
    return {row['name'].removeprefix(row['name'].split('float32/')[0] + 'float32/'): row for row in rows}


@pytest.mark.parametrize(
    'model, options',
    [
        ('nafnet-tiny', []),
        ('edsr-tiny', ['--cfg-options', 'model.spd.refiner.type=NAFNet', 'model.spd.refiner.mid_channels=4']),
    ],
)
def test_a_step_and_its_parts(benchmark, monkeypatch, capsys, model, options):
    module = benchmark('train_step')
    arguments = ['--patch-sizes', '32', '--rounds', '1', '--images', '1', '--online']
    rows = rows_of(module, [*arguments, *options], monkeypatch, capsys, model)
    for phase, parts in module.PARTS.items():
        step, total = rows[f'step/{phase}'], rows[f'parts of {phase}']
        assert step['ratio'] == pytest.approx(step['median'] / rows['step/plain']['median'], rel=1e-3)
        assert total['median'] == pytest.approx(sum(rows[f'part/{part}']['median'] for part in parts), rel=1e-3)
        assert total['ratio'] == pytest.approx(step['median'] / total['median'], rel=1e-3)
    memory = {
        phase: rows[f'peak memory/{phase}']['median'] for phase in ('plain', *module.PHASES, 'joint, checkpointed')
    }
    assert memory['plain'] < min(memory['refiner stage'], memory['student stage'])
    assert max(memory['refiner stage'], memory['student stage'], memory['joint, checkpointed']) < memory['joint']
    for name in ('loader, 0 workers', 'part/sgr of 64 masks, forward'):
        assert rows[name]['ratio'] > 0 and 'to' in rows[name]


def test_the_exported_student_is_the_stock_model(benchmark, monkeypatch, capsys):
    rows = rows_of(benchmark('inference'), ['--size', '32', '32', '--rounds', '1'], monkeypatch, capsys)
    assert rows['equal output, exported and stock']['median'] == 1
    assert rows['equal output, exported and SPD model']['median'] == 1
    assert rows['parameters']['ratio'] == rows['peak memory']['ratio'] == 1
    assert rows['latency, exported']['ratio'] > 0


def test_peak_memory_counts_what_is_alive_at_a_time(benchmark):
    module = benchmark('measure')

    def run():
        first = torch.zeros(1000)
        del first
        kept = torch.zeros(3000)
        return kept.sum()

    assert 12_000 <= module.peak_bytes(module.Task(run), 'cpu') < 14_000
    layer = nn.BatchNorm2d(4)
    assert module.bytes_of(layer) == 4 * 4 * 4 + 8


def test_idle_time_is_what_no_interval_covers(benchmark):
    idle_share = benchmark('measure').idle_share
    assert idle_share([(0, 10)]) == 0
    assert idle_share([(6, 10), (0, 3), (1, 4), (2, 3)]) == pytest.approx(0.2)
    assert idle_share([(5, 6), (5, 6), (9, 10)]) == pytest.approx(0.6)


def test_turns_alternate_and_the_first_one_warms_up(benchmark):
    module, calls = benchmark('measure'), []
    tasks = {
        name: module.Task(lambda name=name: calls.append(name), lambda name=name: calls.append('before ' + name))
        for name in 'ab'
    }
    seconds = module.interleaved(tasks, module.Clock('cpu'), 2)
    assert [call for call in calls if len(call) == 1] == list('baabba') and calls[0] == 'before b'
    assert {name: len(values) for name, values in seconds.items()} == dict(a=2, b=2)
    assert benchmark('report').ratio([2.0, 6.0, 8.0], [1.0, 2.0, 1.0]) == 3
