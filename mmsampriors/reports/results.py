"""Results of tests: written, read, and shown as tables."""

import json
import math
import os.path as osp
from typing import Dict, List, NamedTuple

from mmengine.config import Config

from mmsampriors.files import MadeFiles
from mmsampriors.images import split_by_reference

from .tables import csv_text, show_value, text_table

FILE = 'test_results'
RESULT_FILES = (f'{FILE}.json', f'{FILE}.csv')
#: Restored image ('student', 'refined') to test set to metric to value.
Results = Dict[str, Dict[str, Dict[str, float]]]


class SetOfTest(NamedTuple):
    """A test set of a config: its name, the prefixes of its metrics ('' for none), and how PSNR and SSIM are taken."""

    name: str
    prefixes: frozenset
    settings: str = ''


def sets_of(cfg: Config) -> List[SetOfTest]:
    """The test sets of a config, before anything is tested.

    A set is named by the prefix of its metrics. Where they have none or several, it is named by
    ``metainfo.dataset_type`` if that stands in its folders' names, or else by its folder.

    Raises:
        ValueError: There is no test set, not one evaluator a set, or two sets would report under the same names.
    """
    loaders, evaluators = cfg.get('test_dataloader'), cfg.get('test_evaluator')
    if not loaders or not evaluators or not cfg.get('test_cfg'):
        raise ValueError(
            'the config names no test set: it needs test_dataloader, test_evaluator and test_cfg = '
            "dict(type='MultiTestLoop')"
        )
    loaders = loaders if isinstance(loaders, list) else [loaders]
    evaluators = [evaluators] if _is_one(evaluators) else evaluators
    if len(loaders) != len(evaluators):
        raise ValueError(
            f'test_dataloader has {len(loaders)} test sets and test_evaluator {len(evaluators)} lists of '
            'metrics: give each set its own'
        )
    sets, reported = [], {}
    for loader, evaluator in zip(loaders, evaluators):
        metrics = _metrics(evaluator)
        name = _name(loader['dataset'], metrics)
        for metric in metrics:
            key = (metric.get('prefix') or '', metric['type'])
            if key in reported:
                raise ValueError(
                    f'the test sets {reported[key]} and {name} both report {key[1]} with the prefix '
                    f'{key[0]!r}: give the metrics of each set a prefix of their own'
                )
            reported[key] = name
        prefixes = frozenset(metric.get('prefix') or '' for metric in metrics)
        sets.append(SetOfTest(name, prefixes, _settings(metrics)))
    return sets


def _settings(metrics) -> str:
    found = {}
    for metric in metrics:
        if metric['type'] in ('PSNR', 'SSIM'):
            border = metric.get('crop_border', 0)
            on = f'on {metric.get("convert_to") or "RGB"}{f", without a border of {border} pixels" if border else ""}'
            found.setdefault(on, []).append(metric['type'])
    return '; '.join(f'{" and ".join(names)} {on}' for on, names in found.items())


def _is_one(evaluators) -> bool:
    """Whether this is the evaluator of one test set, and no list of them, as mmagic's test loop reads it."""
    return isinstance(evaluators, dict) or all(isinstance(one, dict) and 'metrics' not in one for one in evaluators)


def _metrics(evaluator) -> list:
    metrics = evaluator['metrics'] if isinstance(evaluator, dict) else evaluator
    return metrics if isinstance(metrics, list) else [metrics] if metrics else []


def _name(dataset: dict, metrics: list) -> str:
    prefixes = {metric.get('prefix') or '' for metric in metrics}
    if len(prefixes) == 1 and '' not in prefixes:
        return prefixes.pop()
    known = (dataset.get('metainfo') or {}).get('dataset_type') or ''
    root = (dataset.get('data_root') or '').rstrip('/')
    places = [root, *(dataset.get('data_prefix') or {}).values()]
    # A config that inherits another's test set and names its own folder is not testing on that other set.
    named = known and any(_letters(known) in _letters(place) for place in places)
    return (known if named or not root else osp.basename(root)) or 'test'


def _letters(text: str) -> str:
    return ''.join(filter(str.isalnum, text)).lower()


def by_set(metrics: Dict[str, float], sets: List[SetOfTest]) -> Dict[str, Dict[str, float]]:
    """Sorts the metrics of a test loop, ``prefix/name``, by test set.

    What has no known prefix belongs to the set without one. A set of several prefixes keeps them in the names.
    """
    homes = {prefix: one for one in sets for prefix in one.prefixes}
    by_name = {one.name: {} for one in sets}
    for key, value in metrics.items():
        prefix, _, name = key.partition('/')
        home = homes[prefix] if name and prefix in homes else homes.get('', sets[0])
        by_name[home.name][name if home.prefixes == {prefix} and name else key] = float(value)
    return by_name


def table_of(results: Results) -> str:
    """The table that ``tools/test.py`` prints: a line a test set, and a column a metric.

    Metrics without reference have a table of their own below it.
    """
    against, without = split_by_reference(_rows(results)[0])
    tables = [_table('test set', _only(against, results))] if against or not without else []
    return '\n\n'.join(tables + ([_table('without reference', _only(without, results))] if without else []))


def _only(metrics, results) -> Results:
    """The results of some metrics, without sets that have none of them."""
    kept = {
        image: {
            name: {metric: value for metric, value in values.items() if metric in metrics}
            for name, values in sets.items()
        }
        for image, sets in results.items()
    }
    return {image: {name: values for name, values in sets.items() if values} for image, sets in kept.items()}


def _table(title, results) -> str:
    names, rows = _rows(results)
    alone = len(results) == 1
    header = [title, *([] if alone else ['image']), *names]
    return text_table(
        header,
        [[test_set, *([] if alone else [image]), *map(show_value, names, values)] for test_set, image, *values in rows],
    )


def save_results(work_dir: str, results: Results, **made_with):
    """Writes :data:`RESULT_FILES`.

    Args:
        work_dir (str): Where to.
        results (dict): Restored image ('student', 'refined') to test set to metric to value.
        **made_with: What the results depend on, such as config and checkpoint; for the JSON file.

    Raises:
        FileExistsError: A file is there that no test wrote, or that was changed since.
    """
    names, rows = _rows(results)
    made = MadeFiles(work_dir, 'test')
    made.write(RESULT_FILES[1], csv_text(['test_set', 'image', *names], rows))
    made.write(RESULT_FILES[0], json.dumps(dict(made_with, results=results), indent=2) + '\n')


def load_results(work_dir: str) -> Results:
    """Reads what :func:`save_results` wrote.

    Raises:
        FileNotFoundError: The run was not tested.
        ValueError: The file is no such file.
    """
    path = osp.join(work_dir, f'{FILE}.json')
    if not osp.isfile(path):
        raise FileNotFoundError(
            f'{work_dir} holds no {FILE}.json: test the run with python tools/test.py CONFIG '
            f'CHECKPOINT --work-dir {work_dir}'
        )
    try:
        with open(path) as file:
            results = json.load(file)['results']
        for values in (values for sets in results.values() for values in sets.values()):
            for metric, value in values.items():
                if not isinstance(value, (int, float)) or math.isnan(value):
                    raise ValueError(f'{metric} is {value!r}, expected a number')
        return results
    except (AttributeError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f'{path} is damaged or not from tools/test.py ({error!r}): test the run again') from None


def _rows(results: Results):
    """Names of all metrics, and rows of test set, image and values."""
    names = list(dict.fromkeys(name for sets in results.values() for values in sets.values() for name in values))
    test_sets = list(dict.fromkeys(test_set for sets in results.values() for test_set in sets))
    return names, [
        [test_set, image, *(sets[test_set].get(name) for name in names)]
        for test_set in test_sets
        for image, sets in results.items()
        if test_set in sets
    ]
