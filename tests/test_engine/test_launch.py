import argparse
import os
import socket
import subprocess
import sys
from argparse import Namespace
from pathlib import Path

import pytest
import torch.distributed as dist
from mmengine.config import Config

from mmsampriors.command_line import add_common_options
from mmsampriors.engine.launch import ConsoleRunner, enable_amp, load_config, process_group

ROOT = Path(__file__).resolve().parents[2]


def test_a_config_that_is_not_there_is_one_clear_error(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match=f'there is no config spd.py .looked in {tmp_path}'):
        load_config(Namespace(config='spd.py', local_rank=0))


@pytest.mark.parametrize(
    'cfg, expected',
    [
        ({}, dict(broadcast_buffers=False, find_unused_parameters=False)),
        (dict(find_unused_parameters=True), dict(broadcast_buffers=False, find_unused_parameters=True)),
        (
            dict(model_wrapper_cfg=dict(type='MMDistributedDataParallel', broadcast_buffers=True)),
            dict(broadcast_buffers=True, find_unused_parameters=False),
        ),
    ],
)
def test_processes_without_gpus_wrap_the_model_as_mmengine_does_on_gpus(monkeypatch, cfg, expected):
    """DDP by itself sends all buffers, the frozen student among them, at every forward pass."""
    monkeypatch.setattr(dist, 'init_process_group', lambda backend: None)
    monkeypatch.setattr(dist, 'is_initialized', lambda: False)
    monkeypatch.setattr('torch.cuda.is_available', lambda: False)
    monkeypatch.setenv('RANK', '0')
    cfg = Config(dict(launcher='pytorch', **cfg))
    with process_group(cfg):
        assert cfg.model_wrapper_cfg == dict(type='MMDistributedDataParallel', device_ids=None, **expected)


def test_mixed_precision_of_several_optimizers_is_refused():
    one = dict(type='OptimWrapper', optimizer=dict(type='Adam'))
    wrapper = dict(constructor='MultiOptimWrapperConstructor', generator=one, discriminator=one)
    with pytest.raises(ValueError, match='one optimizer, and .* one each for generator, discriminator: leave --amp'):
        enable_amp(Config(dict(optim_wrapper=wrapper)))


def test_more_processes_than_gpus_are_refused(monkeypatch):
    monkeypatch.setattr('torch.cuda.is_available', lambda: True)
    monkeypatch.setattr('torch.cuda.device_count', lambda: 2)
    monkeypatch.setenv('LOCAL_RANK', '2')
    with (
        pytest.raises(ValueError, match='process 2 .* has no GPU: 2 can be seen'),
        process_group(Config(dict(launcher='pytorch'))),
    ):
        pass


@pytest.mark.parametrize(
    'text, value',
    [
        ('/my photographs/of rain', '/my photographs/of rain'),
        ('"/my photographs/of rain "', '/my photographs/of rain'),
        ('/rain (old, dry)/x', '/rain (old, dry)/x'),
        ('/a (b', '/a (b'),
        ('', ''),
        ('1', 1),
        (' 1e-4', 1e-4),
        ('None', None),
        ('true', True),
        ('a,b c', ['a', 'b c']),
        ('1,', [1]),
        ('[]', []),
        ('[a b, 2]', ['a b', 2]),
        ('[(1, 2), (3,), x y]', [(1, 2), (3,), 'x y']),
        ('(0.9, 0.999)', (0.9, 0.999)),
        ("{'type': 'SGD', 'lr': 1}", dict(type='SGD', lr=1)),
        ('[{"type": "A", "x": [1, 2]}, 3]', [dict(type='A', x=[1, 2]), 3]),
        ('{}', '{}'),
        ('{}_x{}', '{}_x{}'),
    ],
)
def test_white_space_in_a_value_stays(text, value):
    parser = argparse.ArgumentParser()
    add_common_options(parser)
    found = parser.parse_args(['--cfg-options', f'a.b={text}']).cfg_options
    assert found == {'a.b': value} and type(found['a.b']) is type(value)


@pytest.mark.parametrize('options', [['data_root=/my', 'photographs'], ['a', '=', '3'], ['=3'], ['data root=3']])
def test_options_torn_apart_by_white_space_are_refused(options, capsys):
    parser = argparse.ArgumentParser()
    add_common_options(parser)
    with pytest.raises(SystemExit):
        parser.parse_args(['--cfg-options', *options])
    assert 'takes KEY=VALUE, found' in capsys.readouterr().err


def test_what_a_run_cannot_build_is_named(runner_cfg):
    hook = dict(type='mmsampriors.SPDScheduleHook', priority='URGENT')
    with pytest.raises(ValueError, match='^custom_hooks cannot be built: URGENT'):
        ConsoleRunner.from_cfg(runner_cfg(custom_hooks=[hook]))


@pytest.mark.parametrize('value', ["{'type': 'SGD'", '{type: SGD}', "{'a': open('x')}"])
def test_a_dict_that_cannot_be_read_is_refused_with_its_key(value, capsys):
    parser = argparse.ArgumentParser()
    add_common_options(parser)
    with pytest.raises(SystemExit):
        parser.parse_args(['--cfg-options', f'optim_wrapper.optimizer={value}'])
    assert 'optim_wrapper.optimizer=' in capsys.readouterr().err.splitlines()[-1]


LEAVES = """
import mmsampriors.compat
import os, torch, torch.distributed as dist
from mmengine.config import Config
from mmsampriors.engine.launch import process_group

def threads():
    return len(os.listdir('/proc/self/task'))

def train():
    model = torch.nn.parallel.DistributedDataParallel(torch.nn.Linear(2, 2))
    model(torch.ones(1, 2)).sum().backward()
    model.runner = [model]  # a cycle, as mmengine has many
    gathered = [None]
    dist.all_gather_object(gathered, 'rank 0')
    print(gathered, threads() - before)

torch.set_num_threads(1)
torch.ones(1, 2, requires_grad=True).sum().backward()
before = threads()
with process_group(Config(dict(launcher='pytorch'))):
    train()
print(dist.is_initialized(), threads() - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path('/proc/self/task').is_dir(), reason='counts threads in /proc, Linux only')
def test_no_thread_of_a_process_group_outlives_it():
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        port = probe.getsockname()[1]
    variables = dict(
        os.environ,
        PYTHONPATH=str(ROOT),
        CUDA_VISIBLE_DEVICES='-1',
        OMP_NUM_THREADS='1',
        RANK='0',
        WORLD_SIZE='1',
        LOCAL_RANK='0',
        MASTER_ADDR='127.0.0.1',
        MASTER_PORT=str(port),
    )
    done = subprocess.run([sys.executable, '-c', LEAVES], env=variables, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    inside, after = done.stdout.splitlines()[-2:]
    assert inside.startswith("['rank 0'] ") and int(inside.split()[-1]) > 0
    assert after == 'False 0'
