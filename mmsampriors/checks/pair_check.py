"""Looks at the images of a config before anything is trained on them."""

import os
import os.path as osp
from concurrent.futures import ThreadPoolExecutor
from typing import Iterator, Optional, Tuple

from mmengine.config import Config
from mmengine.registry import init_default_scope
from PIL import Image, UnidentifiedImageError
from tqdm import tqdm

from mmsampriors.registry import DATASETS, is_a

END_OF_FILE = {'PNG': b'IEND', 'JPEG': b'\xff\xd9'}
THREADS = 16
#: Where a launcher writes a process's rank; the others write RANK, as torchrun does.
RANKS = dict(slurm='SLURM_PROCID', mpi='OMPI_COMM_WORLD_RANK')


def check_data(cfg: Config, training: bool = True):
    """Checks that the folders of a config's data sets are there and that their images can be used.

    Only headers and the last bytes are read, by the first process of a run.

    Args:
        cfg (Config): The config. Its ``data_help``, where it has one, is shown when a folder is missing.
        training (bool): Whether to look at training and validation sets, or else at the test sets.

    Raises:
        FileNotFoundError: A folder or the other image of a pair is missing.
        ValueError: An image cannot be read, is cut off, has another size than its partner, or is smaller than the
            patch that the pipeline cuts out.
    """
    if not _is_first_process(cfg.get('launcher', 'none')):
        return
    loaders = [cfg.get(name) for name in (('train_dataloader', 'val_dataloader') if training else ('test_dataloader',))]
    loaders = [loader for group in loaders if group for loader in (group if isinstance(group, list) else [group])]
    sets = [dataset for loader in loaders for dataset in _innermost(loader['dataset'])]
    for dataset in sets:
        _check_folders(dataset, cfg.get('data_help', ''))
    init_default_scope(cfg.get('default_scope', 'mmagic'))
    for dataset in sets:
        _check_images(dataset)


def _is_first_process(launcher: str) -> bool:
    """Whether this process has rank 0. It is asked before the process group is there: mmengine sets RANK later."""
    return int(os.environ.get(RANKS.get(launcher, 'RANK'), 0)) == 0


def _innermost(dataset: dict) -> Iterator[dict]:
    """The data sets inside wrappers such as RepeatDataset and ConcatDataset."""
    inner = dataset.get('datasets') or ([dataset['dataset']] if 'dataset' in dataset else None)
    if inner is None:
        yield dataset
        return
    for one in inner:
        yield from _innermost(one)


def _check_folders(dataset, data_help):
    prefixes = dataset.get('data_prefix') or {}
    for key, prefix in prefixes.items():
        folder = osp.join(dataset.get('data_root') or '', prefix)
        if '://' not in folder and not osp.isdir(folder):
            raise FileNotFoundError(
                f'the config takes {key!r} images from {folder} (dataset.data_root and data_prefix), and there is no '
                f'such folder in {os.getcwd()}.\n{data_help}\n'
                'To make pairs from your own photographs: python tools/dataset_converters/make_rain.py PHOTOS OUT '
                "(make_noise.py, make_blur.py), then data_root=OUT, data_prefix=dict(img='input', gt='target')"
            )


def _check_images(dataset):
    pairs = [
        (info['img_path'], info.get('gt_path')) for info in _infos(dataset) if isinstance(info.get('img_path'), str)
    ]
    if not pairs:
        return
    patch = _patch_size(dataset.get('pipeline', []))
    with ThreadPoolExecutor(THREADS) as pool:
        checked = pool.map(lambda pair: _check_pair(*pair, patch), pairs)
        for _ in tqdm(checked, f'checking {dataset.get("data_root", "")}', len(pairs), unit='pair', leave=False):
            pass


def _infos(dataset):
    """What the data set lists, without its pipeline."""
    infos = DATASETS.build({**dataset, 'pipeline': [], 'lazy_init': True}).load_data_list()
    if not infos:
        raise FileNotFoundError(f'the data set at {dataset.get("data_root")} is empty: no image is in its folders')
    return infos


def _patch_size(pipeline) -> int:
    """The largest patch that must fit into an image, in pixels; 0 where none is cut out or images are padded first."""
    sizes = [step['gt_patch_size'] for step in pipeline if step['type'] == 'PairedRandomCrop']
    return 0 if any(is_a(step, 'PadToPatch') for step in pipeline) else max(sizes, default=0)


def _check_pair(path: str, partner: Optional[str], patch: int):
    size = image_size(path)
    if partner is None:
        return
    other = image_size(partner)
    if size != other:
        raise ValueError(
            f'a pair has images of different sizes: {path} is {size[0]}x{size[1]} and {partner} is '
            f'{other[0]}x{other[1]}. SPD restores an image at its own size'
        )
    if min(size) < patch:
        raise ValueError(
            f'{path} is {size[0]}x{size[1]} and the train pipeline cuts out {patch}x{patch}: set a smaller '
            'gt_patch_size, or take the image out'
        )


def image_size(path: str) -> Tuple[int, int]:
    """Width and height of an image file in pixels.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is no image, or is cut off.
    """
    if not osp.isfile(path):
        raise FileNotFoundError(
            f'{path} is missing: each image of a pair needs the other, under the name that the data '
            "set's filename_tmpl gives"
        )
    try:
        with Image.open(path) as image:
            if not _ends_well(path, image.format):
                image.load()
            return image.size
    except (UnidentifiedImageError, OSError) as error:
        raise ValueError(f'{path} cannot be read as an image ({error}): it may be cut off; get it again') from error


def _ends_well(path, kind):
    """Whether the file ends as its format does. Where it does not, decoding decides."""
    with open(path, 'rb') as file:
        file.seek(max(0, os.fstat(file.fileno()).st_size - 64))
        return END_OF_FILE.get(kind, b'') in file.read()
