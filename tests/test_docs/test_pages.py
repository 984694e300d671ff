"""What the pages say exists: the files and headings that they link to, their commands, and the errors they explain."""

import argparse
import ast
import functools
import json
import os
import re
import runpy
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import skimage.data
import torch
from mmengine.config import Config
from mmengine.runner import Runner
from PIL import Image

from mmsampriors import __version__
from mmsampriors.checks.config_check import check_config

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob('*.md'), *ROOT.glob('docs/**/*.md'), *ROOT.glob('configs/**/*.md')])
ERRORS = ROOT / 'docs' / 'when_something_goes_wrong.md'

every_page = pytest.mark.parametrize('page', PAGES, ids=lambda path: str(path.relative_to(ROOT)))

FENCE = re.compile(r'^```(\w*)[^\n]*\n(.*?)^```$', re.MULTILINE | re.DOTALL)
MAKE_NOISE = 'tools/dataset_converters/make_noise.py'
#: What MAKE_NOISE takes off the command line itself: it chooses the other options.
SWITCHES = {'--camera'}
#: Scripts that hand their arguments to a Python tool, and how.
HANDS_ON = {
    'tools/quickstart.sh': lambda args: ('tools/quickstart.py', args),
    'tools/dist_train.sh': lambda args: ('tools/train.py', [args[0], *args[2:]]),
    'tools/dist_test.sh': lambda args: ('tools/test.py', [*args[:2], *args[3:]]),
    'tools/slurm_train.sh': lambda args: ('tools/train.py', [args[2], '--work-dir', *args[3:]]),
    'tools/slurm_test.sh': lambda args: ('tools/test.py', args[2:]),
}


def prose(page: Path) -> str:
    """A page without its blocks of code."""
    return FENCE.sub('', page.read_text())


def inline_code(page: Path) -> list[str]:
    return re.findall(r'(?<!`)`([^`\n]+)`(?!`)', prose(page))


def anchors(page: Path) -> list[str]:
    """Anchors of the headings, as GitHub and MyST make them."""
    headings = re.findall(r'^#+ (.+)$', prose(page), re.MULTILINE)
    return [re.sub(r'[^\w\- ]', '', heading.lower()).replace(' ', '-') for heading in headings]


def commands(page: Path) -> list[list[str]]:
    """The words of each command of a page that starts a script of ours: the script and its arguments."""
    blocks = [block.replace('\\\n', ' ') for kind, block in FENCE.findall(page.read_text()) if kind == 'bash']
    lines = [line for block in blocks for line in block.splitlines()] + inline_code(page)
    starts = re.compile(r'^(?:\w+=\S+ )*(?:python|bash) (?=\S+\.(?:py|sh)\b)(.+)$')
    return [shlex.split(match[1], comments=True) for match in map(starts.match, lines) if match]


class Asked(BaseException):
    """Raised in place of reading the command line."""


@functools.cache
def parser_of(script: str, *switches: str) -> argparse.ArgumentParser:
    """The parser that a tool reads its command line with."""

    def ask(self, *args, **kwargs):
        raise Asked(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(argparse.ArgumentParser, 'parse_args', ask)
        patch.setattr(sys, 'path', [str((ROOT / script).parent), *sys.path])
        patch.setattr(sys, 'argv', [script, *switches])
        try:
            runpy.run_path(str(ROOT / script), run_name='__main__')
        except Asked as asked:
            return asked.args[0]
    raise AssertionError(f'{script} reads no command line')


def test_readme_is_short():
    lines = (ROOT / 'README.md').read_text().splitlines()
    assert len(lines) <= 110 and max(len(line) for line in lines if not line.startswith('| ')) <= 120


@every_page
def test_links_lead_somewhere(page):
    for link in re.findall(r'\]\(([^)\s]+)\)', prose(page)):
        if '://' in link:
            continue
        name, _, anchor = link.partition('#')
        target = (page.parent / name) if name else page
        assert target.is_file(), f'{page} links to {link}, and there is no such file'
        assert not anchor or anchor in anchors(target), f'{target} has no heading #{anchor}, only {anchors(target)}'


def test_every_page_is_in_the_index():
    index = (ROOT / 'docs' / 'index.rst').read_text()
    listed = {f'{name}.md' for name in re.findall(r'^   (?:.* <)?([\w/]+)>?$', index, re.MULTILINE)}
    pages = {path for path in ROOT.glob('docs/**/*.md') if not path.read_text().startswith('---\norphan: true')}
    pages = {str(path.relative_to(ROOT / 'docs')) for path in pages} - {'README.md'}
    assert pages <= listed


def test_versions_agree():
    found = re.search(r'^version: (.+)$', (ROOT / 'CITATION.cff').read_text(), re.MULTILINE)[1]
    assert found == __version__ and f'\n## {found}\n' in (ROOT / 'CHANGELOG.md').read_text()


@every_page
def test_commands_can_be_given(page):
    for script, *args in commands(page):
        assert (ROOT / script).is_file(), f'{page} starts {script}, and there is no such file'
        if script.endswith('.sh'):
            if script not in HANDS_ON:
                continue
            script, args = HANDS_ON[script](args)
        try:
            switches = [arg for arg in args if arg in SWITCHES]
            parser_of(script, *switches).parse_args([arg for arg in args if arg not in SWITCHES])
        except SystemExit as error:
            raise AssertionError(f'{page}: {script} does not take {args}; stderr says why') from error


@every_page
def test_options_exist(page):
    """Options that a page names outside commands are those of some tool that the pages start."""
    named = {code.split()[0] for code in inline_code(page) if code.startswith('--') and page != ERRORS}
    if named:
        started = {script for other in PAGES for script, *_ in commands(other) if script.endswith('.py')}
        tools = [script for script in started if (ROOT / script).is_file()]
        parsers = [*map(parser_of, tools), *(parser_of(MAKE_NOISE, switch) for switch in SWITCHES)]
        assert named <= {option for parser in parsers for option in parser._option_string_actions} | SWITCHES


def test_commands_are_found():
    """Guards the tests above against finding nothing."""
    readme = commands(ROOT / 'README.md')
    assert ['tools/quickstart.sh'] in readme and ['tools/train.py', 'my_config.py', '--check'] in readme
    assert ['tools/dist_train.sh', 'my_config.py', '8'] in readme
    assert '--shard' in parser_of('tools/cache_masks.py')._option_string_actions
    with pytest.raises(SystemExit):
        parser_of('tools/train.py').parse_args(['my_config.py', '--no-such-option'])


def configs() -> list[str]:
    """Blocks of Python that are configs; the README's first one is the ``my_config.py`` that the others inherit."""
    blocks = [block for page in PAGES for kind, block in FENCE.findall(page.read_text()) if kind == 'python']
    found = [block for block in blocks if '_base_ =' in block or re.search('^model = ', block, re.MULTILINE)]
    return [block if '_base_ =' in block else f"_base_ = 'my_config.py'\n{block}" for block in found]


MY_NAFNET = 'mmagic::nafnet/nafnet_c64eb11128mb1db1111_8xb8-lr1e-3-400k_gopro.py'


def third_loss() -> str:
    """The module that docs/your_config.md shows as a loss of one's own."""
    page = (ROOT / 'docs' / 'your_config.md').read_text()
    return next(block for kind, block in FENCE.findall(page) if kind == 'python' and '(DistillationLoss)' in block)


def test_the_third_loss_is_weighted_ramped_and_logged_under_its_name(tmp_path, monkeypatch, runner_cfg):
    assert len(third_loss().splitlines()) <= 15
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / 'my_losses.py').write_text(third_loss())
    entry = next(text for text in configs() if 'mine=' in text)
    (tmp_path / 'entry.py').write_text(entry.replace("_base_ = 'my_config.py'\n", ''))
    mine = Config.fromfile(tmp_path / 'entry.py').model.spd.losses.mine.to_dict()
    logged = []
    for relative in (False, True):
        cfg = runner_cfg(
            schedule=dict(type='JointSchedule', begin=0.25, end=0.75),
            val_cfg=None,
            val_dataloader=None,
            val_evaluator=None,
        )
        cfg['model']['spd']['losses']['mine'] = {**mine, 'relative': relative}
        runner = Runner.from_cfg(Config(cfg))
        runner.train()
        scalars = runner.message_hub.log_scalars
        logged.append(
            {name: scalars[f'train/{name}'].data[0] for name in ('mine.weight', 'mine.loss_edges', 'grad.mine')}
        )
        assert (runner.model.losses.mine.adaptive_weight is not None) is relative
    assert logged[0]['mine.weight'] == pytest.approx([0, 0, 0.05, 0.1]), 'the ramp'
    assert all(found['mine.loss_edges'][-1] > 0 and found['grad.mine'][-1] > 0 for found in logged)
    assert logged[0]['mine.loss_edges'][-1] != logged[1]['mine.loss_edges'][-1], 'λ relative to the student'


def test_the_recipe_for_ray_segments_a_folder(tmp_path):
    pytest.importorskip('ray', reason='needs ray[data], which nothing else here does')
    page = (ROOT / 'docs' / 'many_devices.md').read_text()
    block = next(text for kind, text in FENCE.findall(page) if kind == 'python' and 'import ray' in text)
    for name in ('a', 'sub/b', 'sub/c'):
        (tmp_path / 'photos' / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(skimage.data.coffee()[: 96 + 8 * len(name), :128]).save(tmp_path / 'photos' / f'{name}.png')
    (tmp_path / 'recipe.py').write_text(block.replace('/data/', f'{tmp_path}/'))
    environment = {**os.environ, 'PYTHONPATH': str(ROOT), 'RAY_USAGE_STATS_ENABLED': '0'}
    for _ in range(2):
        subprocess.run([sys.executable, 'recipe.py'], cwd=tmp_path, env=environment, check=True, timeout=600)
    found = sorted(path.relative_to(tmp_path / 'masks') for path in (tmp_path / 'masks').rglob('*.json'))
    assert [str(path) for path in found] == ['a.json', 'sub/b.json', 'sub/c.json']
    assert all(json.loads((tmp_path / 'masks' / path).read_text())['annotations'] for path in found)


def test_the_mask_source_of_the_page_segments(tmp_path):
    page = (ROOT / 'docs' / 'your_config.md').read_text()
    block = next(text for kind, text in FENCE.findall(page) if kind == 'python' and '(MaskSource)' in text)
    names = {}
    exec(block, names)
    (masks,) = names['ThresholdMasks']().segment(torch.arange(48.0).view(1, 3, 4, 4) / 48)
    assert len(masks.areas) == 2 and masks.areas.sum() == 16


@pytest.mark.parametrize('config', configs(), ids=lambda text: re.sub(r'\W+', ' ', text)[-50:])
def test_configs_are_read(config, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / 'my_losses.py').write_text(third_loss())
    (tmp_path / 'my_nafnet.py').write_text(f'_base_ = {MY_NAFNET!r}\n')
    readme = next(text for text in configs() if text in (ROOT / 'README.md').read_text())
    (tmp_path / 'my_config.py').write_text(readme)
    (tmp_path / 'child.py').write_text(config)
    cfg = Config.fromfile(tmp_path / 'child.py')
    check_config(cfg)
    assert cfg.model.type == 'mmsampriors.SPDModel'


def messages() -> str:
    """All texts of the code, one after the other, with ... for what is filled in."""
    texts = []
    for path in [*ROOT.glob('mmsampriors/**/*.py'), *ROOT.glob('tools/**/*.py'), ROOT / 'setup.py']:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.JoinedStr):
                texts.append(''.join(part.value if isinstance(part, ast.Constant) else '...' for part in node.values))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                texts.append(node.value)
    return '\n'.join([*texts, *(path.read_text() for path in ROOT.glob('tools/*.sh'))])


def test_explained_errors_are_those_of_the_code():
    rows = re.findall(r'^\| `([^`]+)` \|', ERRORS.read_text(), re.MULTILINE)
    assert len(rows) > 30
    known = messages()
    assert [row for row in rows if row not in known] == []
