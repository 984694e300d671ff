"""Test sets unlike those that were trained on: one list in the config, one in the maker."""

import importlib.util
from pathlib import Path

from mmengine.config import Config

from mmsampriors.data_preparation.degradations import ROBUSTNESS
from mmsampriors.reports import sets_of

ROOT = Path(__file__).resolve().parents[2]

CHILD = """
_base_ = ['mmagic::nafnet/nafnet_c64eb11128mb1db1111_8xb8-lr1e-3-400k_gopro.py', 'mmsampriors::_base_/robustness.py']
test_dataloader, test_evaluator = _base_.robustness.{task}.dataloaders, _base_.robustness.{task}.evaluators
test_cfg, data_help = dict(type='MultiTestLoop'), _base_.robustness_help
"""


def test_a_config_tests_on_all_sets_that_the_maker_makes(tmp_path):
    for task, sets in ROBUSTNESS.items():
        (tmp_path / 'config.py').write_text(CHILD.format(task=task))
        cfg = Config.fromfile(str(tmp_path / 'config.py'))
        assert [one.name for one in sets_of(cfg)] == list(sets)
        folders = [loader.dataset.data_root for loader in cfg.test_dataloader]
        assert folders == [f'data/robustness/{name}' for name in sets]
        channels = {metric.convert_to for metrics in cfg.test_evaluator for metric in metrics}
        assert channels == {'Y' if task == 'derain' else None}


def test_the_maker_makes_them(pairs, tmp_path, monkeypatch, capsys):
    path = ROOT / 'tools/dataset_converters/make_robustness.py'
    monkeypatch.syspath_prepend(str(path.parent))
    spec = importlib.util.spec_from_file_location('make_robustness', path)
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    monkeypatch.setattr('sys.argv', ['make', str(pairs / 'target'), str(tmp_path), '--task', 'derain', 'denoise'])
    tool.main()
    made = {path.parent.parent.name for path in tmp_path.glob('*/input/coffee.png')}
    assert made == {*ROBUSTNESS['derain'], *ROBUSTNESS['denoise']}
    assert 'rain_heavy' in capsys.readouterr().out
