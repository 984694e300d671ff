"""The quickstart: its steps in order, and what is done already."""

import json
import os.path as osp
import shlex

from mmsampriors.files import MadeFiles, locked

from .progress import TRAININGS, Console, Plan
from .results import GAIN, PHOTOGRAPHS, make_data, quickstart_table, write_results
from .trainings import compute_masks, make_processes, read_quickstart_config, train_all

TOOL, METRICS = 'quickstart', 'metrics.json'
#: What a run leaves; the last is the sign that it is complete.
RESULTS = (
    *('configs', 'data', 'first', 'masks', 'photographs', 'plain', 'spd'),
    *('student.pth', 'student.py', 'panel.png', 'curves.png', METRICS),
)
LOGS = ('quickstart.log', *(f'quickstart_{name}.log' for name in TRAININGS))

NEXT = """What next
  look           {out}/panel.png, curves.png
  your photos    python tools/restore.py PHOTOS --student {out}/student.pth --out restored
  your pairs     python tools/train.py configs/spd/nafnet_derain-tiny.py --cfg-options \\
                     train_dataloader.dataset.data_root=PAIRS/train val_dataloader.dataset.data_root=PAIRS/val
                 where PAIRS/train and PAIRS/val hold input/NAME.png and target/NAME.png
  your config    README.md, "Distil your network\""""


def run(plan: Plan):
    """Does what is not done yet, and says what it is.

    Raises:
        FileExistsError: Something that it would replace is not of an earlier run.
        RuntimeError: Another quickstart runs in the folder.
        SystemExit: The student is not :data:`.results.GAIN` dB above the rainy input.
    """
    MadeFiles(plan.out, TOOL).refuse_others([*RESULTS, *LOGS])
    with locked(plan.out, 'a quickstart'):
        _begin(plan.out)
        console = Console(plan.folder('quickstart.log'), stages=4)
        with console.kept_clear():
            metrics = _work(plan, console)
    folder = osp.relpath(plan.out)
    print(f'\n{quickstart_table(metrics)}\n\nDone in {console.elapsed}.\n\n{NEXT.format(out=shlex.quote(folder))}')
    gain = metrics['rain']['spd']['PSNR'] - metrics['rain']['input']['PSNR']
    if gain < GAIN:
        raise SystemExit(f'error: the student is {gain:.2f} dB above the rainy input, and {GAIN} dB were expected')


def _work(plan, console):
    processes = make_processes(plan)
    rains = len(read_quickstart_config(plan).train_dataloader.dataset.datasets)
    train, test = (len(PHOTOGRAPHS[split]) for split in ('train', 'test'))
    console.begin(f'Rain and heavier rain: {rains} times on {train} photographs to train on, once on {test} to test on')
    make_data(plan.out, rains)
    console.begin(f'Masks of the {train} photographs, by the SAM tiny that travels with the package')
    compute_masks(plan, console)
    console.begin(f'Training: {plan.first} updates; then {plan.then} more, once plainly and once with SPD')
    console.show('      Pairs are of rain. SPD sees heavier rain too, without its ground truth.')
    train_all(plan, processes, console)
    console.begin(f'Comparing on the {test} photographs that were not trained on')
    metrics = write_results(plan)
    made = MadeFiles(plan.out, TOOL)
    made.finish(name for name in RESULTS if name != METRICS)
    # Written last: where it is, the run is complete.
    made.write(METRICS, json.dumps(metrics, indent=2))
    return metrics


def _begin(out):
    """Removes what an earlier run that was finished made, and claims what this one will make."""
    made = MadeFiles(out, TOOL)
    if osp.isfile(osp.join(out, METRICS)):
        made.remove(RESULTS)
    made.claim([*RESULTS, *LOGS])
