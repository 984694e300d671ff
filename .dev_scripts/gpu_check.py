"""Tests and measures on a GPU, the most valuable first: ``gpu_check.py OUT``; ``gpu_check.sh`` prepares a bare machine.

Each step is a command of this repository in a time box. Rows are printed and written to OUT/rows.jsonl as they come. A
step that ended well is not done again: a second call goes on where the first ended, with the tests, then with what was
never started, then with what failed or was cut off. An empty OUT begins with the rows that are committed
(docs/gpu/rows.jsonl). With ``--wallpapers`` students that are trained plainly see more patches than their recipes
say; they end in OUT/students. With ``--photographs`` the time that is left goes to cells of the evidence's ``gpu``
preset, whose rows are merged into OUT/evidence/results.json.

    bash .dev_scripts/gpu_check.sh OUT --minutes 8 --photographs BSDS500/train/images
    bash .dev_scripts/gpu_check.sh OUT --rehearse                                       # toy sizes on the CPU
"""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import List

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from mmsampriors.files import write_whole

BENCHMARKS = '.dev_scripts/benchmarks'
COMMITTED = ROOT / 'docs' / 'gpu'
#: Seconds between asking a step to end and ending it.
GRACE = 10


@dataclass(frozen=True)
class Step:
    """A command and its time box.

    Args:
        name (str): What the rows call it, ``kind/what``.
        command (list[str]): Script below the root of the checkout, and its arguments.
        seconds (float): The most that it may take.
    """

    name: str
    command: list
    seconds: float

    @property
    def kind(self) -> str:
        return self.name.split('/')[0]


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('out', metavar='OUT', type=Path, help='folder of rows, logs and evidence')
    parser.add_argument('--minutes', type=float, default=8.0, help='for everything, the unpacking of wheels included')
    parser.add_argument('--wallpapers', metavar='FOLDER', help='what students train on; without it none is trained')
    parser.add_argument('--photographs', metavar='FOLDER', help='what the evidence trains on; without it none is made')
    parser.add_argument(
        '--steps', nargs='+', default=[''], metavar='NAME', help='only those that begin with one of these'
    )
    parser.add_argument('--rehearse', action='store_true', help='toy sizes on the CPU, to see that everything runs')
    return parser.parse_args()


def steps_of(out: Path, photographs: str, wallpapers: str = '') -> List[Step]:
    """What is done on a GPU, in this order."""
    gpu = ['--json', '--device', 'cuda', '--threads', '8']
    engine = ['--points-per-side', '32', '--survive', '0.1', '--images', '8', '--dtypes', 'float32', 'bfloat16']
    stock = ['--stock-prompts', '256', '--points-per-batch', '64', '256', '--repeats', '2']
    step = ['--batch', '4', '--rounds', '5', '--workers', '8', '--idle']
    steps = [
        Step('tests/gpu', ['-m', 'pytest', '-q', '-rs', '-p', 'no:cacheprovider', 'tests/test_gpu'], 180),
        *(
            Step(
                f'mask_engine/{model}', [f'{BENCHMARKS}/mask_engine.py', *gpu, '--models', model, *engine, *stock], box
            )
            for model, box in (('vit_b', 60), ('vit_h', 90))
        ),
        *(_train_step(model, 'bfloat16', [*gpu, *step]) for model in ('nafnet', 'restormer')),
        *(_train_step(model, 'float32', [*gpu, *step]) for model in ('nafnet', 'restormer')),
        Step(
            'inference', [f'{BENCHMARKS}/inference.py', *gpu, '--dtypes', 'float32', 'bfloat16', '--rounds', '30'], 60
        ),
    ]
    if wallpapers:
        machine = ['--device', 'cuda', '--workers', '14', '--batch', '128']
        steps += [_student(out, name, wallpapers, updates, machine, 200) for name, updates in STUDENTS.items()]
    if photographs:
        steps.append(evidence(out, photographs, '--preset', 'gpu', '--students', 'plain', 'self', 'spd'))
    return steps


#: Student to updates of 128 patches: two to three times as many patches as its recipe has, in updates of 4. The
#: photographs of a test set need not travel: chelsea and coffee are measured.
STUDENTS = dict(camera=700, blur=7000, noise=10900)


def _student(out: Path, name: str, wallpapers: str, updates: int, machine: list, seconds: float) -> Step:
    command = ['.dev_scripts/train_student.py', name, '--out', str(out / 'students' / name)]
    return Step(
        f'students/{name}', [*command, '--photographs', wallpapers, '--updates', str(updates), *machine], seconds
    )


def _train_step(model: str, dtype: str, options: list) -> Step:
    command = [f'{BENCHMARKS}/train_step.py', *options, '--models', model, '--dtypes', dtype]
    return Step(f'train_step/{model}/{dtype}', command, 150)


def toy_steps(out: Path, photographs: str, wallpapers: str = '') -> List[Step]:
    """The same commands at toy sizes on the CPU; the boxes are wide, for busy machines."""
    cpu = ['--json', '--threads', '1']
    engine = ['--models', 'small', '--points-per-side', '4', '--survive', '0.5', '--stock-prompts', '4']
    step = ['--models', 'nafnet-tiny', '--patch-sizes', '32', '--rounds', '1', '--images', '1', '--online', '--idle']
    steps = [
        Step('tests/gpu', ['-m', 'pytest', '-q', '-rs', '-p', 'no:cacheprovider', 'tests/test_gpu'], 600),
        Step('mask_engine/small', [f'{BENCHMARKS}/mask_engine.py', *cpu, *engine, '--repeats', '1'], 300),
        Step('train_step/nafnet-tiny', [f'{BENCHMARKS}/train_step.py', *cpu, *step], 300),
        Step(
            'inference',
            [f'{BENCHMARKS}/inference.py', *cpu, '--models', 'nafnet-tiny', '--size', '32', '32', '--rounds', '1'],
            300,
        ),
    ]
    if wallpapers:
        steps.append(_student(out, 'camera', wallpapers, 2, ['--workers', '1', '--batch', '2'], 600))
    if photographs:
        steps.append(
            evidence(out, photographs, '--tasks', 'denoise', '--students', 'plain', '--updates', '4', '--seeds', '0')
        )
    return steps


def evidence(out: Path, photographs: str, *options: str) -> Step:
    command = ['.dev_scripts/evidence.py', '--out', str(out / 'evidence'), '--photographs', photographs, *options]
    return Step('evidence', command, float('inf'))


class Rows:
    """OUT/rows.jsonl: measurements as the steps print them, and how each step ended."""

    def __init__(self, path: Path, committed: Path):
        if not path.exists() and committed.is_file():
            shutil.copy(committed, path)
        self.path = path
        lines = path.read_text().splitlines() if path.exists() else []
        self.rows = [row for row in map(parsed, lines) if row]
        if len(self.rows) < len(lines):  # a killed call leaves half a line, which would swallow the next row
            write_whole(path, ''.join(f'{json.dumps(row)}\n' for row in self.rows))

    def ended(self, step: str) -> str:
        """How a step ended the last time: 'done', 'failed', 'cut off' or '' where it was never started."""
        return next((row['ended'] for row in reversed(self.rows) if row.get('step') == step and 'ended' in row), '')

    def add(self, row: dict):
        """Prints a row and writes it."""
        self.rows.append(row)
        line = json.dumps(row)
        print(line, flush=True)
        with open(self.path, 'a') as file:
            file.write(line + '\n')


def parsed(line: str):
    """The JSON object that a line is, or None."""
    try:
        row = json.loads(line)
    except ValueError:
        return None
    return row if isinstance(row, dict) else None


def run(step: Step, seconds: float, rows: Rows, logs: Path) -> None:
    """Runs a step for at most ``seconds``; rows of its output go to ``rows``, everything to a log."""
    log = logs / f'{step.name.replace("/", "-")}.log'
    begin = time.time()
    with open(log, 'w') as file:
        process = subprocess.Popen(
            [sys.executable, *step.command],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=file,
            text=True,
            env={**os.environ, 'PYTHONUNBUFFERED': '1'},
            start_new_session=True,  # so that what it starts ends with it
        )
        timers = [
            threading.Timer(max(0.0, seconds - GRACE), end, (process, signal.SIGTERM)),
            threading.Timer(seconds, end, (process, signal.SIGKILL)),
        ]
        for timer in timers:
            timer.start()
        for line in process.stdout:
            row = parsed(line)
            if row:
                rows.add({**row, 'step': step.name})
            else:
                file.write(line)
                file.flush()
        process.wait()
        for timer in timers:
            timer.cancel()
        end(process, signal.SIGKILL)
    took = round(time.time() - begin, 1)
    cut = process.returncode != 0 and took >= seconds - GRACE
    ended = 'cut off' if cut else 'failed' if process.returncode else 'done'
    last = [line for line in log.read_text(errors='replace').splitlines() if line.strip()][-3:]
    rows.add(dict(step=step.name, ended=ended, seconds=took, last_lines=last))


def end(process: subprocess.Popen, how: signal.Signals) -> None:
    """Sends a signal to a process and all that it started."""
    try:
        os.killpg(process.pid, how)
    except ProcessLookupError:
        pass


def main():
    args = parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    out, begin = args.out.resolve(), float(os.environ.get('GPU_CHECK_STARTED', time.time()))
    photographs, wallpapers = (folder and os.path.abspath(folder) for folder in (args.photographs, args.wallpapers))
    steps = (toy_steps if args.rehearse else steps_of)(out, photographs, wallpapers)
    steps = [step for step in steps if step.name.startswith(tuple(args.steps))]
    rows = Rows(out / 'rows.jsonl', COMMITTED / 'rows.jsonl')
    logs = out / 'logs'
    logs.mkdir(exist_ok=True)
    if args.rehearse:
        os.environ.update(CUDA_VISIBLE_DEVICES='-1', MMSAMPRIORS_TEST_DEVICE='cpu')
    rows.add(dict(call='begins', after_seconds=round(time.time() - begin, 1), rehearsal=args.rehearse))
    todo = [step for step in steps if rows.ended(step.name) != 'done']
    # The tests first, what has no end last, and between them what was never started before what failed.
    for step in sorted(todo, key=lambda step: (step.kind != 'tests', step.seconds > 1e6, bool(rows.ended(step.name)))):
        left = args.minutes * 60 - (time.time() - begin)
        if left < 2 * GRACE:
            print(f'{step.name}: no time left; the same command goes on from here', flush=True)
        else:
            run(step, min(step.seconds, left), rows, logs)
    wanting = [step.name for step in steps if rows.ended(step.name) != 'done']
    rows.add(dict(call='ends', after_seconds=round(time.time() - begin, 1), not_done=wanting))


if __name__ == '__main__':
    main()
