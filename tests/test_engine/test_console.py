"""What a person sees of a run, and what goes to the log file only."""

import logging
from pathlib import Path

from mmengine.config import Config
from mmengine.logging import MMLogger

from mmsampriors.engine.launch import ConsoleFilter, ConsoleRunner, StageFilter, calm


def record(message, level=logging.INFO):
    return logging.LogRecord('run', level, 'file', 1, message, (), None)


def test_long_messages_go_to_the_file_and_warnings_everywhere():
    long = 'Config:\n' + 'x = 1\n' * 20
    assert not ConsoleFilter().filter(record(long)) and ConsoleFilter().filter(record('short'))
    assert ConsoleFilter().filter(record(long, logging.WARNING))


def test_what_upstream_warns_of_in_each_run_is_not_shown(runner_cfg, capfd):
    cfg = runner_cfg(log_level='INFO')
    cfg['train_dataloader']['dataset']['metainfo'] = dict(dataset_type='pairs', task_name='denoising')
    calm(MMLogger.get_current_instance())
    ConsoleRunner.from_cfg(Config(cfg)).train()
    shown = capfd.readouterr()
    log = ''.join(path.read_text() for path in Path(cfg['work_dir']).glob('*/*.log'))
    for words in ('is not a meta file', 'The prefix is not set', 'FileClient', 'HardDiskBackend'):
        assert words not in shown.out + shown.err
    assert 'FileClient' in log and 'Iter(train)' in shown.out + shown.err
    assert ConsoleFilter().filter(record('masks are few', logging.WARNING))


def test_stages_have_names():
    line = record('Iter(train) [10/20]  spd.stage: 1.0000  spd.weight: 3.0000')
    assert StageFilter().filter(line) and line.msg == 'Iter(train) [10/20]  spd.stage: refiner  spd.weight: 3.0000'
    between = record('spd.stage: 1.5000')
    assert StageFilter().filter(between) and between.msg == 'spd.stage: 1.5000'


def test_a_run_logs_the_time_left_from_the_first_iteration_on(runner_cfg, capfd):
    cfg = runner_cfg(hooks=[dict(type='mmsampriors.TimeLeftHook')], log_level='INFO')
    cfg['default_hooks'].update(timer=dict(type='IterTimerHook'))
    ConsoleRunner.from_cfg(Config(cfg)).train()
    shown = capfd.readouterr()
    console = shown.out + shown.err
    lines = [line for line in console.splitlines() if 'Iter(train)' in line]
    assert len(lines) == 4 and all('eta: ' in line and 'spd.stage: joint' in line for line in lines)
    assert 'System environment' not in console and 'custom_hooks' not in console
    (log,) = Path(cfg['work_dir']).glob('*/*.log')
    assert 'System environment' in log.read_text() and 'custom_hooks' in log.read_text()
