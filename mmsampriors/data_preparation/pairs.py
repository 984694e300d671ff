"""From a folder of photographs to a folder of (degraded, sharp) pairs in the layout of mmagic."""

import hashlib
import json
import os
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict
from pathlib import Path

import cv2
import numpy as np

from mmsampriors.files import PART, refuse_remote, refuse_unwritable, remove_abandoned, write_whole
from mmsampriors.images import TRAINING_SUFFIXES, images_in, read_rgb, to_unit
from mmsampriors.progress import progress_bar

RECORD = 'pairs.json'


class PairError(Exception):
    """Pairs cannot be made, or some could not; the message says which and what to do."""


def make_pairs(source, out, degrade, settings, *, seed: int = 0, workers: int = 1) -> int:
    """Makes ``out/input/NAME.png`` (degraded) and ``out/target/NAME.png`` for every photograph below ``source``.

    ``BasicImageDataset(data_root=out, data_prefix=dict(img='input', gt='target'))`` reads the result. A nested
    photograph ``a/b.jpg`` becomes ``a_b.png``. Pairs that exist are kept, so an interrupted run goes on where it was
    stopped; that of a photograph that was changed since is made anew. Each pair is a function of ``seed``, its NAME,
    the photograph and the settings alone. What made the folder is kept in ``out/pairs.json``.

    The target of a setting that makes images smaller is cropped to whole multiples of the scale.

    Args:
        source (str | Path): Folder of photographs, searched recursively; names that start with a dot are left out.
        out (str | Path): Folder to write, outside ``source``.
        degrade (callable): ``degrade(image, rng, **settings)`` on (H, W, 3) RGB float32 in [0, 1], as
            :func:`mmsampriors.data_preparation.degradations.add_rain`.
        settings (Settings): What to pass on to ``degrade``.
        seed (int): Another seed gives other pairs.
        workers (int): Threads to work with; they change nothing in the result.

    Returns:
        int: How many pairs the folder holds for the photographs of ``source``.

    Raises:
        PairError: No photographs, two of the same NAME, a folder that was made otherwise, pairs whose photograph is
            gone, or, when all others are done, photographs that cannot be used.
        OSError: ``out`` cannot be written.
    """
    source, out = Path(source), Path(out)
    refuse_unwritable(out)
    photographs = photographs_by_name(source, out)
    _open_record(out, dict(degradation=degrade.__name__, source=str(source.resolve()), seed=seed, **asdict(settings)))
    _refuse_orphans(out, photographs)
    todo = {name: path for name, path in photographs.items() if not _is_made(path, _pair(out, name))}

    def make_pair(name):
        rng = np.random.default_rng([seed, int.from_bytes(hashlib.sha256(os.fsencode(name)).digest()[:8], 'big')])
        try:
            image = _cropped(to_unit(read_rgb(todo[name])), settings.multiple)
            degraded = degrade(image, rng, **asdict(settings))
        except (OSError, ValueError, cv2.error) as error:  # OpenCV makes no JPEG of more than 65,500 pixels a side
            return f'{todo[name]}: {error}'
        input_file, target_file = _pair(out, name)
        # mmagic lists the inputs, so an input must never be there before its target.
        _write_image(target_file, image)
        _write_image(input_file, degraded)

    work_off(todo, make_pair, workers, done=len(photographs) - len(todo))
    return len(photographs)


def _cropped(image, multiple):
    """Without the last rows and columns that make no whole ``multiple``."""
    height, width = (side - side % multiple for side in image.shape[:2])
    if not (height and width):
        raise ValueError(f'an image of {image.shape[1]}x{image.shape[0]} pixels is smaller than {multiple} pixels')
    return image[:height, :width]


def photographs_by_name(source: Path, out: Path) -> dict[str, Path]:
    """Maps the NAME of each pair to its photograph, sorted; refuses folders and names that would mix things up."""
    refuse_remote(source, 'photographs')
    if not source.is_dir():
        raise PairError(f'no folder of photographs at {source}')
    if out.resolve().is_relative_to(source.resolve()):
        raise PairError(
            f'{out} lies inside {source}: the pairs would be taken for photographs by the next run. '
            'Choose a folder beside it.'
        )
    found = defaultdict(list)
    for path in images_in(source, TRAINING_SUFFIXES):
        found['_'.join(path.relative_to(source).with_suffix('').parts)].append(path)
    if not found:
        raise PairError(f'no photographs in {source}: looked for {", ".join(TRAINING_SUFFIXES)}, in subfolders too')
    clashes = [' and '.join(map(str, paths)) for paths in found.values() if len(paths) > 1]
    if clashes:
        raise PairError(
            'several photographs would make pairs of the same name; rename or remove one of each:\n  '
            + '\n  '.join(clashes)
        )
    return {name: paths[0] for name, paths in found.items()}


def _pair(out, name):
    return out / 'input' / f'{name}.png', out / 'target' / f'{name}.png'


def _is_made(photograph, pair):
    """Whether both images are there, and no older than the photograph or its coming to this place."""
    if not all(map(Path.exists, pair)):
        return False
    changed = photograph.stat()
    return min(path.stat().st_mtime for path in pair) >= max(changed.st_mtime, changed.st_ctime)


def _refuse_orphans(out, photographs):
    orphans = sorted(path for path in (out / 'input').glob('*.png') if path.stem not in photographs)
    if orphans:
        raise PairError(
            f'{len(orphans)} pairs in {out} are of photographs that are gone, such as {orphans[0]}: remove them from '
            'input and target, or name another folder'
        )


def _open_record(out, made_with):
    """Compares ``out/pairs.json`` with what is asked for now, or writes it, and removes what killed runs left."""
    made_with = json.loads(json.dumps(made_with))
    record = out / RECORD
    refuse_other_settings(record, made_with)
    holds_images = any(folder.is_dir() and any(folder.iterdir()) for folder in (out / 'input', out / 'target'))
    if holds_images and not record.exists():
        raise PairError(f'{out} holds images, but no {RECORD} that says what made them. Choose another folder.')
    for folder in (out / 'input', out / 'target'):
        folder.mkdir(parents=True, exist_ok=True)
        remove_abandoned(folder.glob(f'.*{PART}'))
    write_whole(record, json.dumps(made_with, indent=2) + '\n')


def refuse_other_settings(record: Path, made_with: dict):
    """Compares the file that says what made a folder, where there is one, with what is asked for now.

    Args:
        record (Path): A file of JSON in the folder.
        made_with (dict): What is asked for, JSON-able.

    Raises:
        PairError: The folder was made otherwise, or the file is damaged.
    """
    if not record.exists():
        return
    try:
        before = dict(json.loads(record.read_text()))
    except (ValueError, TypeError) as error:
        raise PairError(f'{record} is damaged ({error}). Remove {record.parent} and run again.') from error
    keys = [key for key in {**before, **made_with} if before.get(key) != made_with.get(key)]
    if keys:
        raise PairError(
            f'{record.parent} was made with other settings ({record.name}):\n  '
            + '\n  '.join(f'{key}: {before.get(key)} then, {made_with.get(key)} now' for key in keys)
            + '\nChoose another folder, or repeat the old settings to go on with this one.'
        )


def work_off(todo, make_pair, workers, done, unit='pair'):
    """Runs ``make_pair`` on every name, with a progress bar.

    Raises:
        PairError: It complained, when all others are done.
    """
    complaints = []
    # Threads: OpenCV, Pillow and NumPy let go of the interpreter lock, and a killed run leaves no orphans.
    pool = ThreadPoolExecutor(workers)
    try:
        jobs = [pool.submit(make_pair, name) for name in todo]
        for job in progress_bar(as_completed(jobs), total=done + len(todo), initial=done, unit=unit):
            complaint = job.result()
            if complaint:
                complaints.append(complaint)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
    if complaints:
        raise PairError(
            f'{len(complaints)} of {done + len(todo)} photographs could not be used (the others are done):\n  '
            + '\n  '.join(sorted(complaints))
            + '\nRepair or remove them and run again.'
        )


def _write_image(path, image):
    bgr = np.ascontiguousarray((image[..., ::-1] * 255).round().astype(np.uint8))
    write_whole(path, cv2.imencode('.png', bgr)[1].tobytes())
