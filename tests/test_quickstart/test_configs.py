"""What the three trainings of the quickstart have in common, and what not."""

from pathlib import Path

import pytest
from mmengine.config import Config

from mmsampriors.quickstart import Plan
from mmsampriors.quickstart.trainings import training_config

CONFIG = Path(__file__).parents[2] / 'configs' / 'spd' / 'quickstart.py'


@pytest.fixture
def plan(tmp_path):
    return Plan(config=str(CONFIG), out=str(tmp_path), first=30, refiner=20, then=10)


def test_plain_and_spd_differ_in_spd_alone(plan):
    plain, spd = training_config(plan, 'plain'), training_config(plan, 'spd')
    assert plain.train_dataloader == spd.train_dataloader and plain.randomness == spd.randomness
    assert plain.optim_wrapper == spd.optim_wrapper
    assert plain.load_from == spd.load_from == plan.last_checkpoint('first')
    assert plain.model.generator == spd.model.generator and 'spd' not in plain.model
    assert plain.train_cfg.max_iters == spd.train_cfg.max_iters - plan.refiner == plan.then
    assert spd.param_scheduler.periods == [plan.refiner, plan.then] and plain.param_scheduler.T_max == plan.then
    assert spd.model.spd.schedule.refiner * spd.train_cfg.max_iters == pytest.approx(plan.refiner)
    # The hook by which both are shown the same patches.
    assert [hook.type.split('.')[-1] for hook in plain.custom_hooks] == ['ExactResumeHook']


def test_all_is_below_the_folder_of_the_plan(plan):
    cfg = training_config(plan, 'spd')
    folders = [cfg.work_dir, cfg.model.spd.masks.cache_dir, cfg.val_dataloader.dataset.data_root]
    folders += cfg.custom_hooks[-1].folders
    folders += [dataset.data_root for dataset in cfg.train_dataloader.dataset.datasets]
    assert all(folder.startswith(plan.out) for folder in folders)


def test_a_training_that_was_begun_goes_on(plan):
    assert not training_config(plan, 'plain').resume
    (Path(plan.out) / 'plain').mkdir()
    (Path(plan.out) / 'plain' / 'last_checkpoint').write_text('iter_5.pth')
    cfg = training_config(plan, 'plain')
    assert cfg.resume and cfg.load_from is None


def test_the_rates_of_the_first_training_are_those_of_the_config(plan):
    assert training_config(plan, 'first').optim_wrapper == Config.fromfile(CONFIG).optim_wrapper
