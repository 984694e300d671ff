"""The quickstart from its first to its last line."""

import os
import os.path as osp
import shlex
import shutil

from .configs import read_config
from .photographs import PHOTOGRAPHS, make_data
from .plan import Plan
from .progress import Console
from .results import GAIN, table_of, write_results
from .trainings import compute_masks, train_all

NEXT = """What next
  look           {out}/panel.png, curves.png
  your photos    python tools/restore.py PHOTOS --student {out}/student.pth --out restored
  your pairs     python tools/train.py configs/spd/nafnet_derain-tiny.py --cfg-options \\
                     train_dataloader.dataset.data_root=PAIRS/train val_dataloader.dataset.data_root=PAIRS/val
                 where PAIRS/train and PAIRS/val hold input/NAME.png and target/NAME.png
  your config    README.md, "Add it to your config\""""


def run(plan: Plan):
    """Does what is not done yet, and says what it is.

    Raises:
        SystemExit: The student is not :data:`.results.GAIN` dB above the rainy input.
    """
    _clear_finished(plan.out)
    os.makedirs(plan.out, exist_ok=True)
    console = Console(plan.folder('quickstart.log'), stages=4)
    with console.kept_clear():
        metrics = _work(plan, console)
    folder = osp.relpath(plan.out)
    print(f'\n{table_of(metrics)}\n\nDone in {console.elapsed}.\n\n{NEXT.format(out=shlex.quote(folder))}')
    gain = metrics['rain']['spd']['PSNR'] - metrics['rain']['input']['PSNR']
    if gain < GAIN:
        raise SystemExit(f'error: the student is {gain:.2f} dB above the rainy input, and {GAIN} dB were expected')


def _work(plan, console):
    rains = len(read_config(plan).train_dataloader.dataset.datasets)
    train, test = (len(PHOTOGRAPHS[split]) for split in ('train', 'test'))
    console.begin(f'Rain and heavier rain: {rains} times on {train} photographs to train on, once on {test} to test on')
    make_data(plan.out, rains)
    console.begin(f'Masks of the {train} photographs, by the small SAM that travels with the package')
    compute_masks(plan, console)
    console.begin(f'Training: {plan.first} updates; then {plan.then} more, once plainly and once with SPD')
    console.say('      Pairs are of rain. SPD sees heavier rain too, without its ground truth.')
    train_all(plan, console)
    console.begin(f'Comparing on the {test} photographs that were not trained on')
    return write_results(plan)


def _clear_finished(out):
    """Removes what an earlier run that was finished made, and nothing else: the folder may be anyone's."""
    if osp.isfile(osp.join(out, 'metrics.json')):
        for name in ('data', 'first', 'masks', 'photographs', 'plain', 'spd'):
            shutil.rmtree(osp.join(out, name), ignore_errors=True)
        os.remove(osp.join(out, 'metrics.json'))
