"""Checks of the image pairs of a data set before a run; what was checked is remembered."""

import json
import os
import os.path as osp
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Iterator, Optional, Sequence, Tuple

import cv2
import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from PIL import UnidentifiedImageError

from mmsampriors.datasets.mask_pipeline import DEGRADES_AT_RANDOM
from mmsampriors.datasets.unlabeled import photographs_in
from mmsampriors.files import refuse_remote, write_whole
from mmsampriors.images import PhotographError, check_storage, open_image
from mmsampriors.masks import MaskStore, MaskStoreError, build_store
from mmsampriors.models.networks import probe_network
from mmsampriors.progress import progress_bar
from mmsampriors.registry import DATASETS, MODELS, TRANSFORMS, build_network, build_part, is_a

from .config_reading import datasets_of, warn
from .same_scene import mismatch


class CheckedFiles:
    """A record on disk of groups of files that were good, by their size and date.

    Args:
        path (str | Path, optional): The record, JSON; None keeps none. One that cannot be read counts as empty.
    """

    def __init__(self, path=None):
        self.path = path and Path(path)
        try:
            self.known = json.loads(self.path.read_text()) if path else {}
        except (OSError, ValueError):
            self.known = {}

    def find(self, files: Sequence[str], how: str) -> Optional[list]:
        """What was noted of a group of files; None where there is no note, or a file has changed since.

        Args:
            files (list[str]): The files.
            how (str): How they were read; read otherwise they are other images.
        """
        entry = self.known.get(_key(files, how))
        return entry['note'] if entry and entry['dates'] == _dates(files) else None

    def note(self, files: Sequence[str], how: str, note: list):
        """Notes that a group of files is good."""
        self.known[_key(files, how)] = dict(dates=_dates(files), note=note)

    def save(self):
        """Writes the record. A folder that cannot be written only costs the next check its time."""
        if self.path:
            try:
                write_whole(self.path, json.dumps(self.known))
            except OSError:
                pass


def _key(files, how):
    return '\n'.join([how, *(os.path.abspath(file) for file in files)])


def _dates(files):
    try:
        return [[stat.st_size, stat.st_mtime_ns] for stat in map(os.stat, files)]
    except OSError:
        return None


END_OF_FILE = {'PNG': b'\0\0\0\0IEND\xaeB`\x82', 'JPEG': b'\xff\xd9'}
ORIENTATION = 0x0112  # of EXIF
THREADS = 16
#: Where a launcher writes a process's rank; the others write RANK, as torchrun does.
RANKS = dict(slurm='SLURM_PROCID', mpi='OMPI_COMM_WORLD_RANK')
#: Loader to the image whose masks its samples carry, or validation asks for.
MASKS_OF = dict(train_dataloader='gt_path', val_dataloader='img_path')
MASK_FILES = ('LabelMapMasks', 'CocoRLEMasks')  # sources that read what a user has made
REFINING_HOOKS = ('RefinedPSNRHook', 'SPDVisualizationHook')
WINDOW = 11  # of SSIM, in pixels
LISTED = 50  # bad files that an error lists


def check_data(cfg: Config, training: bool = True, images: bool = True):
    """Checks that the folders of a config's data sets are there and that their images can be used.

    The first process of a run reads each image once, through the ``LoadImageFromFile`` of its pipeline, so that the
    check sees what training will see: sizes, and which way up an image with an EXIF orientation is. Both images of a
    pair must show the same scene (:mod:`.same_scene`), and masks from files (``LabelMapMasks``, ``CocoRLEMasks``) must
    fit. What was good is noted in the work folder, in ``checked_images.json``, and not read again until its size or
    date changes.

    Args:
        cfg (Config): The config. Its ``data_help``, where it has one, is shown when a folder is missing.
        training (bool): Whether to look at training and validation sets, or else at the test sets.
        images (bool): Whether to look into the folders, or at nothing but their being there (``--no-check``).

    Raises:
        FileNotFoundError: A folder or the other image of a pair is missing.
        ValueError: An image cannot be decoded, is cut off, has another size than its partner or shows another scene,
            or is smaller than the patch that the pipeline cuts out. All bad files are listed.
    """
    if not is_first_process(cfg.get('launcher', 'none')):
        return
    names = ('train_dataloader', 'val_dataloader') if training else ('test_dataloader',)
    sets = [(name, dataset, side) for name in names for dataset, side in _measured_sets(cfg, name)]
    for _, dataset, _ in sets:
        _check_folders(dataset, cfg.get('data_help', ''))
        if training and _stores_masks(cfg):
            _refuse_remote_images(dataset)
    unlabeled = _unlabeled_files(cfg) if training else []
    if not images:
        return
    init_default_scope(cfg.get('default_scope', 'mmagic'))
    record = CheckedFiles(cfg.get('work_dir') and osp.join(cfg.work_dir, 'checked_images.json'))
    problems, scale = {}, scale_of(cfg)
    for name, dataset, side in sets:
        problems.update(_check_images(dataset, record, _mask_files(cfg, name), MASKS_OF.get(name), scale, side))
    if unlabeled:
        pipeline = sets[0][1].get('pipeline', [])  # that of the pairs, which they go through
        loaders, patch = dict(list(_loaders(pipeline).items())[:1]), _patch_size(pipeline)
        samples = [Sample({key: str(path) for key in loaders}, loaders, patch, scale) for path in unlabeled]
        problems.update(_problems_of(samples, record, 'photographs without ground truth'))
    record.save()
    _refuse(problems)


def scale_of(cfg: Config) -> int:
    """How many times larger than the degraded image the ground truth of a config is: what its student makes of it.

    A model without such a network has the scale that its train pipeline says, or 1.
    """
    generator = cfg.get('model', {}).get('generator')
    if generator:
        with torch.random.fork_rng(devices=[]):
            try:
                return probe_network(build_network(deepcopy(generator))).scale
            except Exception:  # whatever a network of others raises; check_training says what SPD cannot distil
                pass
    datasets = datasets_of(cfg.get('train_dataloader'))
    return next((scale for dataset in datasets for scale in scales_in(dataset.get('pipeline', []))), 1)


def scales_in(pipeline: list) -> list:
    """The scales that a pipeline's SetValues says."""
    values = [step.get('dictionary', {}) for step in pipeline if step.get('type') == 'SetValues']
    return [value['scale'] for value in values if 'scale' in value]


def _measured_sets(cfg, name) -> Iterator[Tuple[dict, int]]:
    """The innermost data sets of a loader, each with the side in pixels below which a metric measures nothing."""
    loaders, evaluators = cfg.get(name), cfg.get(name.replace('dataloader', 'evaluator'))
    if not isinstance(loaders, list):
        loaders, evaluators = [loaders], [evaluators]
    for number, loader in enumerate(loaders):
        evaluator = evaluators[number] if isinstance(evaluators, list) and number < len(evaluators) else None
        metrics = evaluator.get('metrics', evaluator) if isinstance(evaluator, dict) else evaluator
        metrics = metrics if isinstance(metrics, list) else [metrics] if metrics else []
        borders = [(metric, metric.get('crop_border', 0)) for metric in metrics]
        sides = [2 * one + (WINDOW if is_a(metric, 'SSIM') else 1) for metric, one in borders if isinstance(one, int)]
        side = max(sides, default=0)
        yield from ((dataset, side) for dataset in datasets_of(loader))


def _mask_files(cfg, name) -> Optional[MaskStore]:
    """The label maps or run lengths that a user has on disk for a loader's images; None where none are wanted."""
    masks = cfg.model.get('spd', {}).get('masks') if cfg.get('model') else None
    refines = name == 'train_dataloader' or any(
        is_a(hook, kind) for hook in cfg.get('custom_hooks') or [] for kind in REFINING_HOOKS
    )
    if not masks or not any(is_a(masks, kind) for kind in MASK_FILES) or name not in MASKS_OF or not refines:
        return None
    return build_store(build_part(MODELS, masks).store(''))


def _refuse(problems: dict):
    """Lists all problems in one error; ``problems`` maps each message to the kind of its error."""
    if not problems:
        return
    kind = FileNotFoundError if all(one is FileNotFoundError for one in problems.values()) else ValueError
    if len(problems) == 1:
        raise kind(next(iter(problems)))
    listed = ''.join(f'\n- {message}' for message in list(problems)[:LISTED])
    more = f'\n... and {len(problems) - LISTED} more' if len(problems) > LISTED else ''
    raise kind(f'{len(problems)} images or pairs cannot be used:{listed}{more}')


def is_first_process(launcher: str) -> bool:
    """Whether this process has rank 0. It is asked before the process group is there: mmengine sets RANK later."""
    return int(os.environ.get(RANKS.get(launcher, 'RANK'), 0)) == 0


def _check_folders(dataset, data_help):
    prefixes = dataset.get('data_prefix') or {}
    for key, prefix in prefixes.items():
        folder = osp.join(dataset.get('data_root') or '', prefix)
        if '://' not in folder and not osp.isdir(folder):
            raise FileNotFoundError(
                f'the config takes {key!r} images from {folder} (dataset.data_root and data_prefix), and there is no '
                f'such folder in {os.getcwd()}.\n{data_help}\n'
                'To make pairs from your own photographs: python tools/dataset_converters/make_rain.py PHOTOS OUT '
                '(make_noise.py, make_blur.py, make_lowres.py), then data_root=OUT, '
                "data_prefix=dict(img='input', gt='target'), ann_file=''"
            )
    _check_list(dataset)


def _stores_masks(cfg) -> bool:
    masks = (cfg.get('model') or {}).get('spd', {}).get('masks')
    return bool(masks) and build_part(MODELS, masks).stored


def _refuse_remote_images(dataset):
    """Stored masks are found by the files of the images: mmengine's other backends have none."""
    for prefix in (dataset.get('data_prefix') or {'': ''}).values():
        folder = osp.join(dataset.get('data_root') or '', prefix)
        try:
            refuse_remote(folder, 'images whose masks are stored')
        except ValueError as error:
            raise ValueError(f'{error}; or take masks that are not stored, such as SAMMasks') from None


def _check_list(dataset):
    """Refuses a data set whose list of images (``ann_file``) is not there."""
    ann_file = dataset.get('ann_file')
    path = osp.join(dataset.get('data_root') or '', ann_file or '')
    if ann_file and '://' not in path and not osp.isfile(path):
        raise FileNotFoundError(
            f'the config takes the images that are listed in {path} (dataset.ann_file), and there is no such file in '
            f"{os.getcwd()}. To take all images of a folder, such as your own photographs: dataset.ann_file=''"
        )
    if ann_file and '://' not in path:
        try:
            Path(path).read_text('utf-8')
        except UnicodeDecodeError as error:
            raise ValueError(f'the list of images {path} (dataset.ann_file) is no text in UTF-8 ({error})') from None


@dataclass
class Sample:
    """One sample of a data set: its files, and how they are read.

    Args:
        paths (dict[str, str]): Key of the image, ``img`` or ``gt``, to its file.
        loaders (dict[str, BaseTransform]): Key to what loads it.
        patch (int): Side of the patch that is cut out of the ground truth, in pixels; 0 where there is none.
        scale (int): How many times larger than the degraded image the ground truth is.
        store (MaskStore, optional): Holds the masks of ``masks_of``, a path.
        measured (int): Side of the ground truth from which on the metrics measure something, in pixels.
    """

    paths: dict
    loaders: dict
    patch: int
    scale: int = 1
    store: Optional[MaskStore] = None
    masks_of: str = ''
    measured: int = 0
    problems: dict = field(default_factory=dict)

    @property
    def files(self) -> list:
        """All files of the sample."""
        return [*self.paths.values(), *([str(self.store.path_of(self.masks_of))] if self.store else [])]

    def check(self, record: CheckedFiles) -> dict:
        """What is wrong with the sample: messages to the kind of their error."""
        how = repr([*self.loaders.values(), *([self.scale] if self.scale > 1 else [])])
        try:
            files = self.files
        except MaskStoreError as error:
            return {str(error): ValueError}
        size = record.find(files, how)
        if size is None:
            size = self._read()
            if size and not self.problems:
                record.note(files, how, size)
        key, path = next(iter(self.paths.items()))
        patch = self.patch // self.scale if key == 'img' else self.patch
        if size and min(size) < patch:
            self.problems[
                f'{path} is {size[0]}x{size[1]} and the train pipeline cuts out {patch}x{patch}: set a smaller '
                'gt_patch_size, or take the image out'
            ] = ValueError
        if size and min(size) * (self.scale if key == 'img' else 1) < self.measured:
            self.problems[
                f'{path} is {size[0]}x{size[1]} and the metrics of its evaluator need {self.measured} pixels a side '
                '(crop_border at both sides, and the window of SSIM): set a smaller crop_border, or take the image out'
            ] = ValueError
        return self.problems

    def _read(self) -> Optional[Tuple[int, int]]:
        """Reads all files and compares them; gives width and height of the first."""
        images = {key: self._image(key) for key in self.paths}
        sizes = [(image.shape[1], image.shape[0]) for image in images.values() if image is not None]
        if all(image is not None for image in images.values()) and {'img', 'gt'} <= set(images):
            self._compare(images)
        if self.store and sizes:
            self._check_masks(sizes[-1])
        return sizes[0] if sizes else None

    def _image(self, key) -> Optional[np.ndarray]:
        path = self.paths[key]
        try:
            image_size(path)
            return self.loaders[key].transform({f'{key}_path': path})[key]
        except (FileNotFoundError, ValueError) as error:
            self.problems[str(error)] = type(error) if isinstance(error, FileNotFoundError) else ValueError
        except Exception as error:  # whatever a decoder raises
            reason = (str(error).strip().splitlines() or [type(error).__name__])[-1]
            with open_image(path) as image:
                kind = image.format
            other = kind not in END_OF_FILE
            self.problems[
                f'{path} is a {kind}, which mmagic does not decode ({reason}): save it as PNG'
                if other
                else f'{path} cannot be decoded, it is damaged ({reason}): get it again'
            ] = ValueError
        return None

    def _compare(self, images):
        image, target = images['img'], images['gt']
        path, partner = self.paths['img'], self.paths['gt']
        (height, width), size = image.shape[:2], target.shape[:2]
        wanted, message = (self.scale * height, self.scale * width), None
        if size != wanted:
            message = (
                f'a pair has images of sizes that do not fit: {path} is {width}x{height} and {partner} is '
                f'{size[1]}x{size[0]}. '
            ) + (
                f'The network enlarges by {self.scale}: expected {wanted[1]}x{wanted[0]}'
                if self.scale > 1
                else 'The network restores an image at its own size'
            )
        else:
            reduced = cv2.resize(target, (width, height), interpolation=cv2.INTER_AREA) if self.scale > 1 else target
            found = mismatch(image, reduced)
            message = found and f'{path} and {partner} {found}'
        if message:
            self.problems[message + _orientations(path, partner)] = ValueError

    def _check_masks(self, size):
        try:
            found = self.store.size_of(self.masks_of)[::-1]
        except MaskStoreError as error:
            self.problems[str(error)] = ValueError
            return
        if tuple(found) != size:
            self.problems[
                f'the masks {self.store.path_of(self.masks_of)} are {found[0]}x{found[1]} and their image '
                f'{self.masks_of} is {size[0]}x{size[1]}: make them anew'
            ] = ValueError


def _orientations(*paths) -> str:
    """Which of the images have an EXIF orientation that turns them, and what to do about it."""
    turned = [f'{path} ({value})' for path in paths if (value := _orientation(path)) != 1]
    return (
        f'. EXIF orientations turn images when they are loaded: {", ".join(turned)}. Where pixels are right as they '
        'are stored, take the tag out (exiftool -Orientation= FILES)'
        if turned
        else ''
    )


def _orientation(path):
    with open_image(path) as image:
        return image.getexif().get(ORIENTATION, 1)


def _check_images(dataset, record: CheckedFiles, store, masks_key, scale, measured) -> dict:
    """What is wrong with the images of a data set: messages to the kind of their error."""
    built = DATASETS.build({**dataset, 'pipeline': [], 'lazy_init': True})
    infos = built.load_data_list()
    if not infos:
        ending = f' whose name ends with img_suffix={dataset["img_suffix"]!r}' if dataset.get('img_suffix') else ''
        raise FileNotFoundError(
            f'the data set at {dataset.get("data_root")} is empty: no image{ending} is in its folders'
        )
    _warn_of_unused(built, infos)
    _warn_of_one_image_twice(dataset, infos)
    samples = list(_samples(dataset, infos, store, masks_key, scale, measured))
    return _problems_of(samples, record, dataset.get('data_root', ''))


def _warn_of_one_image_twice(dataset, infos):
    """Warns of pairs that are one image twice, which no transform that is known degrades."""
    steps = dataset.get('pipeline', [])
    degrades = any(is_a(step, kind) for step in steps for kind in DEGRADES_AT_RANDOM)
    if not degrades and all('gt_path' in info and info.get('img_path') == info['gt_path'] for info in infos):
        warn(
            f'each image of {dataset.get("data_root")} is its own ground truth (dataset.data_prefix), so that the '
            'network would learn to change nothing, unless a transform of your own degrades it',
        )


def _problems_of(samples, record, name) -> dict:
    """What is wrong with samples, looked at side by side: messages to the kind of their error."""
    problems = {}
    with ThreadPoolExecutor(min(THREADS, os.cpu_count() or 1)) as pool:
        checked = pool.map(lambda sample: sample.check(record), samples)
        for found in progress_bar(checked, desc=f'checking {name}', total=len(samples), unit='image', leave=False):
            problems.update(found)
    return problems


def _unlabeled_files(cfg) -> list:
    """The photographs without ground truth that a config's UnlabeledHook takes."""
    hooks = [hook for hook in cfg.get('custom_hooks') or [] if is_a(hook, 'UnlabeledHook')]
    return [path for hook in hooks for path in photographs_in(hook['folders'])]


def _samples(dataset, infos, store, masks_key, scale, measured) -> Iterator[Sample]:
    loaders = _loaders(dataset.get('pipeline', []))
    patch = _patch_size(dataset.get('pipeline', []))
    for info in infos:
        paths = {key: info.get(f'{key}_path') for key in loaders}
        paths = {key: path for key, path in paths.items() if isinstance(path, str) and '://' not in path}
        if paths:
            yield Sample(paths, loaders, patch, scale, store, info.get(masks_key, '') if store else '', measured)


def _loaders(pipeline) -> dict:
    """Key to what loads it in a pipeline; what mmagic loads images with by default where no step does."""
    steps = [step for step in pipeline if step.get('type') == 'LoadImageFromFile']
    steps = steps or [dict(type='LoadImageFromFile', key=key) for key in ('img', 'gt')]
    local = [step for step in steps if not step.get('backend_args')]
    # As stored: what comes after decoding changes no size, and a cache would keep all images in memory.
    plain = dict(use_cache=False, to_float32=False, to_y_channel=False, save_original_img=False)
    return {step['key']: TRANSFORMS.build({**step, **plain}) for step in local if step['key'] in ('img', 'gt')}


def _warn_of_unused(dataset, infos):
    """Warns of images in the other folders of a data set that no image in the first folder asks for."""
    folders = getattr(dataset, 'data_prefix', {})
    if getattr(dataset, 'use_ann_file', True) or not hasattr(dataset, 'search_key'):
        return
    for key in set(folders) - {dataset.search_key}:
        listed = dataset.file_backend.list_dir_or_file(
            folders[key], list_dir=False, suffix=dataset.img_suffix, recursive=dataset.recursive
        )
        used = {osp.normpath(info[f'{key}_path']) for info in infos}
        unused = sorted({osp.normpath(osp.join(folders[key], file)) for file in listed} - used)
        if unused:
            warn(
                f'{len(unused)} of the {key!r} images in {folders[key]} are not used, because '
                f'{folders[dataset.search_key]} has no image of their name: {", ".join(unused[:3])}'
                f'{", ..." if unused[3:] else ""}',
            )


def _patch_size(pipeline) -> int:
    """The largest patch that must fit into an image, in pixels; 0 where none is cut out or images are padded first."""
    sizes = [step['gt_patch_size'] for step in pipeline if step['type'] == 'PairedRandomCrop']
    return 0 if any(is_a(step, 'PadToPatch') for step in pipeline) else max(sizes, default=0)


def image_size(path: str) -> Tuple[int, int]:
    """Width and height of an image file in pixels.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is no image, is cut off or damaged, or has floating point values.
    """
    if osp.lexists(path) and not osp.isfile(path):
        raise ValueError(f'{path} is no regular file, or a link that leads nowhere: take it out')
    if not osp.isfile(path):
        raise FileNotFoundError(
            f'{path} is missing: each image of a pair needs the other, under the name that the data '
            "set's filename_tmpl gives"
        )
    try:
        with open_image(path) as image:
            size, mode = image.size, image.mode
            check_storage(image)
            if image.format == 'PNG':
                image.verify()  # compares all checksums but that of the end, without decoding
                if not _ends_well(path, image.format) and _in_opencv(path) is None:
                    raise OSError('its end is damaged')
            elif not _ends_well(path, image.format):
                image.load()
    except UnidentifiedImageError as error:
        size, mode = _size_in_opencv(path, error)
    except PhotographError as error:
        raise ValueError(f'{path} {error}') from error
    except (OSError, SyntaxError, ValueError) as error:
        raise ValueError(f'{path} cannot be read as an image ({error}): it may be cut off; get it again') from error
    if mode.startswith(('F', 'float')):
        raise ValueError(
            f'{path} has floating point values ({mode}): save it with 8 or 16 bit integers, for mmagic would cut off '
            'what is not from 0 to 255'
        )
    return size


def _in_opencv(path, flags=cv2.IMREAD_COLOR):
    """As ``cv2.imread``, which crashes at a name that is no UTF-8."""
    content = np.fromfile(path, np.uint8)
    return cv2.imdecode(content, flags) if len(content) else None


def _size_in_opencv(path, error) -> tuple:
    """Width and height, and the type of the values, of an image that OpenCV alone knows, such as a TIFF of 16 bits."""
    try:
        image = _in_opencv(path, cv2.IMREAD_UNCHANGED)
    except cv2.error:
        image = None
    if image is None:
        raise ValueError(
            f'{path} cannot be read as an image ({error}): it is damaged, or no image of a format that Pillow or '
            'OpenCV know; get it again'
        ) from error
    return image.shape[1::-1], str(image.dtype)


def _ends_well(path, kind):
    """Whether the file ends as its format does. Where it does not, decoding decides."""
    with open(path, 'rb') as file:
        file.seek(max(0, os.fstat(file.fileno()).st_size - 64))
        return END_OF_FILE.get(kind, b'') in file.read()
