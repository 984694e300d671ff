"""What a large cache was found to hold, so that not every start of a training reads every entry. [ours, docs/masks.md]

A manifest is a small file for each shard, ``manifests/SETTINGS/I-of-N.json`` in the folder of the cache: how many
images, a digest of their names, and when each folder of entries was last written to. Adding, removing or replacing an
entry writes to its folder, whose date then is another one. What happens inside a file changes no date of a folder:
:meth:`MaskCache.load` looks at the file itself, for each sample.
"""

import hashlib
import json
import os
from collections import Counter
from pathlib import Path
from typing import List, Optional, Sequence

from mmsampriors.files import write_whole

from .cache import MaskCache

FOLDERS = [f'{number:02x}' for number in range(256)]


def write_manifest(cache: MaskCache, image_paths: Sequence, shard: tuple = (0, 1)) -> None:
    """Notes that the masks of a shard are all there, as :func:`fill_cache` with the same arguments left them.

    A cache that cannot be written gets none, which only costs the next start its time.

    Args:
        cache (MaskCache): The cache.
        image_paths (Sequence): Image files, of all shards.
        shard (tuple): ``(i, n)``: every n-th image, from the i-th (from 0) on.
    """
    index, count = shard
    images, names = _names(cache, image_paths, count)[index]
    found = dict(images=images, names=names, settings=cache.digest.hex(), folders=_dates(cache))
    try:
        write_whole(_folder(cache) / f'{index}-of-{count}.json', json.dumps(found))
    except OSError:
        pass


def manifest_misfit(cache: MaskCache, image_paths: Sequence) -> Optional[str]:
    """Why no manifests say that the masks of all images are there; None where they do. Reads no entry and no image.

    The shards may have been filled one after the other or at once, by any number of machines: the last one to be full
    says when each folder was last written to.

    Args:
        cache (MaskCache): The cache.
        image_paths (Sequence): Image files, of all shards.
    """
    reason = 'it has no manifest'
    written = Counter(path.stem.rpartition('-')[2] for path in _folder(cache).glob('*-of-*.json'))
    for count in (int(text) for text in sorted(written) if text == str(written[text])):
        manifests = [_read(_folder(cache) / f'{index}-of-{count}.json') for index in range(count)]
        reason = 'its manifest is damaged' if None in manifests else _difference(cache, image_paths, manifests)
        if reason is None:
            break
    return reason


def _difference(cache: MaskCache, image_paths: Sequence, manifests: List[dict]) -> Optional[str]:
    if any(manifest['settings'] != cache.digest.hex() for manifest in manifests):
        return 'its manifest is of other settings'
    noted = {name: max(manifest['folders'].get(name, 0) for manifest in manifests) for name in FOLDERS}
    changed = [name for name, date in _dates(cache).items() if noted[name] != date]
    if changed:
        return f'{len(changed)} of its folders ({changed[0]}, ...) were written to since its manifest was'
    count = sum(manifest['images'] for manifest in manifests)
    if count != len(image_paths):
        return f'its manifest is of {count} images, and the data set has {len(image_paths)}'
    if _names(cache, image_paths, len(manifests)) != [(one['images'], one['names']) for one in manifests]:
        return 'its manifest is of images with other names'
    return None


def _folder(cache: MaskCache) -> Path:
    return Path(cache.cache_dir, 'manifests', cache.digest.hex())


def _names(cache: MaskCache, image_paths: Sequence, shards: int) -> list:
    """For each shard how many images it has, and the digest of their names."""
    digests, counts, folders = [hashlib.sha256() for _ in range(shards)], [0] * shards, {}
    for number, path in enumerate(image_paths):
        folder, name = os.path.split(path)
        if folder not in folders:  # once: making a path absolute takes as long as all the rest
            folders[folder] = cache.key(folder)
        digests[number % shards].update(os.fsencode(f'{folders[folder]}/{name}\0'))
        counts[number % shards] += 1
    return [(count, digest.hexdigest()) for count, digest in zip(counts, digests)]


def _dates(cache: MaskCache) -> dict:
    """When each folder of entries was last written to, in nanoseconds; 0 for one that is not there."""
    dates = {}
    for name in FOLDERS:
        try:
            dates[name] = os.stat(os.path.join(cache.cache_dir, name)).st_mtime_ns
        except FileNotFoundError:
            dates[name] = 0
    return dates


def _read(path: Path) -> Optional[dict]:
    """A manifest; None where there is none, or it is no such file."""
    try:
        found = json.loads(path.read_text())
        whole = isinstance(found['images'], int) and {'names', 'settings'} <= found.keys()
        return found if whole and all(isinstance(date, int) for date in found['folders'].values()) else None
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None
