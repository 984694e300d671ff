"""tools/environment.sh in a copy of the checkout, with a stand-in for pip that writes down what it is asked for."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BASH = shutil.which('bash')
PIP = """
import os, pathlib, sys, time
with open(os.environ['PIP_LOG'], 'a') as log:
    print(*sys.argv[1:], file=log)
print('Collecting something', 'Collecting more', 'ERROR: what went wrong', sep='\\n')
time.sleep(float(os.environ.get('PIP_SECONDS', 0)))
sys.exit(int(os.environ.get('PIP_EXIT', 0)))
"""


class Checkout:
    """A copy of what the script reads, in a folder whose name has spaces."""

    def __init__(self, folder: Path):
        self.root = folder / 'a check out'
        self.log = folder / 'pip.log'
        self.env = {key: value for key, value in os.environ.items() if key != 'MMSAMPRIORS_VENV'}
        self.env.update(PIP_LOG=str(self.log))
        (self.root / 'tools').mkdir(parents=True)
        shutil.copy(ROOT / 'tools' / 'environment.sh', self.root / 'tools')
        shutil.copytree(ROOT / 'requirements', self.root / 'requirements')
        for name in ('requirements.txt', 'setup.py', 'pyproject.toml'):
            shutil.copy(ROOT / name, self.root)

    def add_venv(self, folder: Path) -> Path:
        """An environment whose pip is the stand-in; its site-packages."""
        subprocess.run([sys.executable, '-m', 'venv', '--without-pip', str(folder)], check=True)
        packages = next(folder.glob('lib/python3*/site-packages'))
        (packages / 'pip').mkdir()
        (packages / 'pip' / '__main__.py').write_text(PIP)
        return packages

    def start(self, **env) -> subprocess.Popen:
        """Starts a script that does what ours do: source environment.sh, then use PYTHON."""
        script = 'set -euo pipefail; source "$0/tools/environment.sh"; echo "uses $PYTHON for $ROOT"'
        return subprocess.Popen(
            [BASH, '-c', script, str(self.root)],
            cwd=self.root.parent,
            env={**self.env, **env},
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def run(self, **env) -> tuple[int, str]:
        process = self.start(**env)
        output = process.communicate(timeout=60)[0]
        return process.returncode, output

    def asked(self) -> list[str]:
        return self.log.read_text().splitlines() if self.log.exists() else []


@pytest.fixture
def checkout(tmp_path):
    return Checkout(tmp_path)


def test_second_call_starts_no_pip(checkout):
    checkout.add_venv(checkout.root / '.venv')
    code, output = checkout.run()
    assert code == 0, output
    assert '[2/3]' in output and '[3/3]' in output
    assert '..' in output and 'Collecting' not in output  # a dot a package; the rest is in the log
    assert 'Collecting more' in (checkout.root / '.venv' / 'install.log').read_text()
    install, editable = checkout.asked()
    assert (
        install == f'install --no-compile -r {checkout.root}/requirements.txt -r {checkout.root}/requirements/lite.txt'
    )
    assert editable.endswith(f'--editable {checkout.root}') and '--no-deps' in editable

    again = checkout.run()
    assert again == (0, f'uses {checkout.root}/.venv/bin/python for {checkout.root}\n')
    assert len(checkout.asked()) == 2


@pytest.mark.parametrize('changed', ['requirements/runtime.txt', 'setup.py'])
def test_changed_requirements_are_installed(checkout, changed):
    checkout.add_venv(checkout.root / '.venv')
    checkout.run()
    with open(checkout.root / changed, 'a') as file:
        file.write('# changed\n')
    assert checkout.run()[0] == 0
    assert len(checkout.asked()) == 4


def test_mmcv_that_is_there_is_kept(checkout):
    packages = checkout.add_venv(checkout.root / '.venv')
    (packages / 'mmcv').mkdir()
    (packages / 'mmcv' / '__init__.py').write_text('')
    assert checkout.run()[0] == 0
    assert checkout.asked()[0] == f'install --no-compile -r {checkout.root}/requirements.txt'


def test_packages_outside_the_environment_do_not_count(checkout, tmp_path):
    """A PYTHONPATH that shows an mmcv does not make the environment do without one."""
    checkout.add_venv(checkout.root / '.venv')
    (tmp_path / 'elsewhere' / 'mmcv').mkdir(parents=True)
    (tmp_path / 'elsewhere' / 'mmcv' / '__init__.py').write_text('')
    assert checkout.run(PYTHONPATH=str(tmp_path / 'elsewhere'))[0] == 0
    assert 'lite.txt' in checkout.asked()[0]


def test_failed_install_says_so_and_is_tried_again(checkout):
    checkout.add_venv(checkout.root / '.venv')
    code, output = checkout.run(PIP_EXIT='1')
    assert code != 0 and 'uses' not in output
    assert 'cannot reach its package index' in output and 'PIP_INDEX_URL' in output
    assert f'{checkout.root}/.venv/install.log' in output and 'ERROR: what went wrong' in output
    assert checkout.run()[0] == 0
    assert len(checkout.asked()) == 3


def test_half_packages_of_a_killed_install_are_dropped(checkout):
    packages = checkout.add_venv(checkout.root / '.venv')
    for name in ('whole', 'half'):
        (packages / f'{name}-1.0.dist-info').mkdir()
        (packages / f'{name}-1.0.dist-info' / 'METADATA').write_text('')
    (packages / 'whole-1.0.dist-info' / 'INSTALLER').write_text('pip\n')
    process = checkout.start(PIP_SECONDS='60')
    while not checkout.asked():
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert checkout.run()[0] == 0
    assert sorted(path.name for path in packages.glob('*.dist-info')) == ['whole-1.0.dist-info']


@pytest.mark.skipif(shutil.which('flock') is None, reason='without flock nothing makes the second call wait')
def test_two_calls_at_once_install_once(checkout):
    checkout.add_venv(checkout.root / '.venv')
    processes = [checkout.start(PIP_SECONDS='0.5') for _ in range(2)]
    outputs = [process.communicate(timeout=60)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outputs
    assert len(checkout.asked()) == 2
    assert sum('waiting for another process' in output for output in outputs) == 1


def test_environment_elsewhere(checkout, tmp_path):
    checkout.add_venv(tmp_path / 'my env')
    code, output = checkout.run(MMSAMPRIORS_VENV='my env')
    assert code == 0 and output.endswith(f'uses {tmp_path}/my env/bin/python for {checkout.root}\n')
    assert not (checkout.root / '.venv').exists()


def test_moved_checkout_is_installed_anew(checkout, tmp_path):
    checkout.add_venv(checkout.root / '.venv')
    checkout.run()
    checkout.root = checkout.root.rename(tmp_path / 'moved')
    assert checkout.run()[0] == 0
    assert checkout.asked()[-1].endswith(f'--editable {tmp_path}/moved')


def make_tools_folder(folder: Path) -> Path:
    """The commands that the script uses, and no Python."""
    folder.mkdir()
    for name in ('bash', 'cat', 'cksum', 'dirname', 'flock', 'grep', 'mkdir', 'mv', 'rm', 'touch'):
        if found := shutil.which(name):
            (folder / name).symlink_to(found)
    return folder


def test_no_python_at_all(checkout, tmp_path):
    code, output = checkout.run(PATH=str(make_tools_folder(tmp_path / 'bin')))
    assert code != 0
    assert 'needs Python 3.10 or newer' in output and 'python3-venv' in output and 'uses' not in output


def test_names_that_start_nothing_and_other_versions_are_passed_over(checkout, tmp_path):
    """These fail as a version manager's names do; python3 is this one, and cannot make a venv."""
    folder = make_tools_folder(tmp_path / 'bin')
    for name in ('python3.11', 'python3.12', 'python3.13'):
        (folder / name).write_text(f'#!{BASH}\necho "{name}: command not found" >&2\nexit 127\n')
        (folder / name).chmod(0o755)
    (folder / 'python3').write_text(
        f'#!{BASH}\n[ "$2" != venv ] || {{ echo "making $3"; exit 1; }}\nexec "{sys.executable}" "$@"\n'
    )
    (folder / 'python3').chmod(0o755)
    code, output = checkout.run(PATH=str(folder))
    assert code != 0
    assert f'making {checkout.root}/.venv' in output
    assert f'{folder}/python3 -m venv' in output and 'failed' in output


def test_environment_of_another_version_is_refused(checkout):
    python = checkout.root / '.venv' / 'bin' / 'python'
    python.parent.mkdir(parents=True)
    python.write_text(f'#!{BASH}\n[ "$1" = --version ] && echo Python 3.8.18\nexit 1\n')
    python.chmod(0o755)
    code, output = checkout.run()
    assert code != 0
    assert f'{checkout.root}/.venv has Python 3.8.18' in output and 'remove that folder' in output


def test_a_newer_python_is_tried_with_a_word(checkout):
    checkout.add_venv(checkout.root / '.venv')
    python = checkout.root / '.venv' / 'bin' / 'python'
    python.rename(python.with_name('this_one'))
    python.write_text(f"""#!{BASH}
case "$*" in
    --version) echo Python 3.15.0 ;;
    *'> (3, 13)'*) exit 1 ;;
    *) exec "${{0%/*}}/this_one" "$@" ;;
esac
""")
    python.chmod(0o755)
    code, output = checkout.run()
    assert code == 0 and checkout.asked()
    assert 'Python 3.15.0 is newer than what was tested, 3.10 to 3.13: it is tried' in output
