"""tools/train.py in folders that hold something already, and tools/export_student.py on its files."""

import pytest
from mmengine.config import Config
from tool_processes import run_as_process

from mmsampriors.files import locked


@pytest.fixture
def tool(tmp_path):
    """A function that runs a tool below ``tmp_path`` and gives what it says; it must fail where ``fails`` is set."""

    def run(name, *arguments, fails=False):
        done = run_as_process([f'tools/{name}.py', *arguments], cwd=tmp_path, env=dict(PYTHONWARNINGS='ignore'))
        assert bool(done.returncode) == fails, done.stderr[-3000:]
        return done.stdout + done.stderr

    return run


@pytest.fixture
def config(tmp_path, runner_cfg):
    hooks = [dict(type='mmsampriors.ExportStudentHook')]
    Config(runner_cfg(max_iters=2, hooks=hooks, work_dir=tmp_path / 'run')).dump(tmp_path / 'exp.py')
    return tmp_path / 'exp.py'


def holds(folder, *patterns):
    return {path: path.read_bytes() for pattern in patterns for path in folder.glob(pattern)}


@pytest.mark.slow
def test_a_training_is_kept_unless_it_is_resumed_and_nobody_else_works_in_its_folder(tmp_path, tool, config):
    with locked(tmp_path / 'run', 'a training'):
        assert f'a training is going on in {tmp_path}/run already' in tool('train', 'exp.py', fails=True)
    assert not (tmp_path / 'run' / 'exp.py').exists()
    tool('train', 'exp.py')
    left = holds(tmp_path / 'run', '*.pth', '*.py', 'last_checkpoint')
    assert tmp_path / 'run' / 'student.pth' in left
    for options in ([], ['--check']):
        said = tool('train', 'exp.py', *options, fails=True)
        assert f'{tmp_path}/run holds a training already (last_checkpoint)' in said and '--resume' in said
    assert holds(tmp_path / 'run', '*.pth', '*.py', 'last_checkpoint') == left

    (tmp_path / 'run' / 'student.py').write_text('edited')
    longer = ('exp.py', '--resume', '--cfg-options', 'train_cfg.max_iters=3')
    assert f'{tmp_path}/run/student.py is not as train.py wrote it' in tool('train', *longer, fails=True)
    (tmp_path / 'run' / 'student.py').unlink()
    tool('train', *longer)
    assert (tmp_path / 'run' / 'student.py').exists()
    assert (tmp_path / 'run' / 'student.pth').read_bytes() != left[tmp_path / 'run' / 'student.pth']
    # The config that the training has written is read and replaced by its like.
    tool('train', 'run/exp.py', '--resume', '--cfg-options', 'train_cfg.max_iters=4')
    assert (tmp_path / 'run' / 'iter_4.pth').exists()


@pytest.mark.slow
def test_no_tool_replaces_what_it_reads(tmp_path, tool, config):
    before = config.read_bytes()
    assert f'{tmp_path}/exp.py would be replaced' in tool('train', 'exp.py', '--work-dir', tmp_path, fails=True)
    assert not (tmp_path / '.mmsampriors').exists()
    tool('train', 'exp.py')
    checkpoint = tmp_path / 'run' / 'iter_2.pth'
    assert f'{tmp_path}/exp.py is read' in tool('export_student', config, checkpoint, tmp_path / 'exp.pth', fails=True)
    assert f'{checkpoint} is read' in tool('export_student', config, checkpoint, checkpoint, fails=True)
    # Another tool made it.
    there = tmp_path / 'run' / 'exp.pth'
    assert f'{tmp_path}/run/exp.py would be' in tool('export_student', config, checkpoint, there, fails=True)
    for option in (tmp_path / 'run' / 'student.pth', '--onnx=run/student.pth.onnx'):
        (tmp_path / 'run' / 'student.pth.onnx').write_text('mine')
        assert 'would be replaced' in tool('export_student', config, checkpoint, option, fails=True)
    assert config.read_bytes() == before
    for _ in range(2):
        tool('export_student', config, checkpoint, tmp_path / 'out.pth')
