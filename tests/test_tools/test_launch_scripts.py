"""The scripts that start several processes, with a stand-in for what they start."""

import os
import subprocess
from pathlib import Path

import pytest

TOOLS = Path(__file__).resolve().parents[2] / 'tools'


@pytest.fixture
def launched(tmp_path):
    """A function that runs a script and gives the arguments of the command that it would start."""
    for name in ('python', 'srun'):
        (tmp_path / name).write_text('#!/usr/bin/env bash\nprintf "%s\\n" "$@"\n')
        (tmp_path / name).chmod(0o755)

    def run(script, *arguments, **environment):
        ours = ('NNODES', 'NODE_RANK', 'MASTER_ADDR', 'PORT')
        kept = {name: value for name, value in os.environ.items() if name not in ours}
        done = subprocess.run(
            ['bash', TOOLS / script, *arguments],
            capture_output=True,
            text=True,
            check=True,
            env={**kept, 'PATH': f'{tmp_path}:{os.environ["PATH"]}', **environment},
        )
        return done.stdout.splitlines()

    return run


@pytest.mark.parametrize(
    'script, files', [('dist_train.sh', ['config.py']), ('dist_test.sh', ['config.py', 'iter_1.pth'])]
)
def test_one_machine_and_several(launched, script, files):
    alone = launched(script, *files, '4', '--work-dir', 'a folder')
    assert alone[:2] == ['-m', 'torch.distributed.run'] and '--nproc_per_node=4' in alone
    assert {'--nnodes=1', '--node_rank=0', '--master_addr=127.0.0.1'} <= set(alone)
    assert alone[-4 - len(files) :] == [*files, '--launcher', 'pytorch', '--work-dir', 'a folder']
    second = launched(script, *files, '8', NNODES='2', NODE_RANK='1', MASTER_ADDR='10.1.1.1', PORT='29123')
    assert {'--nnodes=2', '--node_rank=1', '--master_addr=10.1.1.1', '--master_port=29123'} <= set(second)
    assert '--nproc_per_node=8' in second


@pytest.mark.parametrize('script, files', [('dist_train.sh', ['config.py']), ('dist_test.sh', ['config.py', 'i.pth'])])
def test_the_error_comes_last_and_once(tmp_path, script, files):
    (tmp_path / 'python').write_text(
        '#!/usr/bin/env bash\necho "error: ours" > "$MMSAMPRIORS_ERROR"; echo "of torchrun" >&2; exit 3\n'
    )
    (tmp_path / 'python').chmod(0o755)
    environment = {**os.environ, 'PATH': f'{tmp_path}:{os.environ["PATH"]}', 'TMPDIR': str(tmp_path)}
    done = subprocess.run(['bash', TOOLS / script, *files, '2'], capture_output=True, text=True, env=environment)
    assert done.returncode == 3 and done.stderr == 'of torchrun\nerror: ours\n'
    assert [path.name for path in tmp_path.iterdir()] == ['python']


@pytest.mark.parametrize('script', ['dist_train.sh', 'dist_test.sh', 'slurm_train.sh', 'slurm_test.sh'])
def test_without_arguments_the_usage_is_reported(script):
    done = subprocess.run(['bash', TOOLS / script], capture_output=True, text=True)
    assert done.returncode == 2 and done.stderr.count('\n') == 1 and f'bash tools/{script} ' in done.stderr


@pytest.mark.parametrize('script, last', [('slurm_train.sh', '--work-dir=WORK'), ('slurm_test.sh', 'WORK')])
def test_slurm(launched, script, last):
    settings = dict(GPUS='16', GPUS_PER_NODE='4', SRUN_ARGS='--qos long')
    asked = launched(script, 'gpu', 'job', 'config.py', 'WORK', '--amp', **settings)
    assert {'--ntasks=16', '--ntasks-per-node=4', '--gres=gpu:4', '--job-name=job', '--qos', 'long'} <= set(asked)
    assert asked[:2] == ['-p', 'gpu'] and asked[-5:] == ['config.py', last, '--launcher', 'slurm', '--amp']
