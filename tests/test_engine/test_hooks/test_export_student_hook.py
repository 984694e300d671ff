import mmsampriors.compat  # noqa: F401, I001
from pathlib import Path

import pytest
import torch
from mmagic.evaluation import PSNR
from mmagic.registry import METRICS, MODELS
from mmengine.config import Config
from mmengine.runner import Runner

import mmsampriors.engine  # noqa: F401

SCORES = []


@METRICS.register_module(force=True)
class ScriptedPSNR(PSNR):
    """Says what the test wants to hear, one score a validation."""

    def compute_metrics(self, results):
        return dict(PSNR=SCORES.pop(0))


@pytest.fixture
def scripted(runner_cfg):
    """A function that runs as many validations as there are scores, one after each iteration."""

    def run(scores, **others):
        SCORES[:] = scores
        cfg = runner_cfg(max_iters=len(scores), hooks=[dict(type='ExportStudentHook')], **others)
        cfg['train_cfg']['val_interval'] = 1
        cfg['val_evaluator'] = [dict(type='ScriptedPSNR')]
        cfg['default_hooks']['checkpoint']['interval'] = 1
        runner = Runner.from_cfg(Config(cfg))
        runner.train()
        return cfg, runner, Path(cfg['work_dir'])

    return run


def state(path):
    return torch.load(path, weights_only=True, map_location='cpu')['state_dict']


def students(folder):
    return sorted(path.name for path in folder.glob('student*'))


def assert_student_of(path, checkpoint):
    student, whole = state(path), state(checkpoint)
    assert student.keys() == {name for name in whole if name.startswith('generator.')}
    assert all(torch.equal(value, whole[name]) for name, value in student.items())


def test_the_last_and_the_best_student_are_exported_and_the_outdated_best_goes(scripted):
    cfg, runner, folder = scripted([20., 30., 25.])
    assert students(folder) == [
        'student.pth', 'student.py', 'student_best_PSNR_iter_2.pth', 'student_best_PSNR_iter_2.py'
    ]
    assert_student_of(folder / 'student.pth', folder / 'iter_3.pth')
    assert_student_of(folder / 'student_best_PSNR_iter_2.pth', folder / 'iter_2.pth')
    for name in ('student', 'student_best_PSNR_iter_2'):
        stock = MODELS.build(Config.fromfile(folder / f'{name}.py').model)
        assert type(stock).__name__ == 'BaseEditModel'
        stock.load_state_dict(state(folder / f'{name}.pth'), strict=True)


def resumed(scores, cfg, checkpoint):
    SCORES[:] = scores
    again = {**cfg, 'load_from': str(checkpoint), 'resume': True, 'experiment_name': cfg['experiment_name'] + 'again'}
    again['train_cfg'] = dict(cfg['train_cfg'], max_iters=cfg['train_cfg']['max_iters'] + len(scores))
    Runner.from_cfg(Config(again)).train()


def test_after_a_resume_the_best_export_is_still_that_of_the_best_checkpoint(scripted):
    cfg, _, folder = scripted([30., 20.])
    best = folder / 'best_PSNR_iter_1.pth'
    resumed([10.], cfg, folder / 'iter_2.pth')
    assert students(folder)[2:] == ['student_best_PSNR_iter_1.pth', 'student_best_PSNR_iter_1.py']
    assert_student_of(folder / 'student_best_PSNR_iter_1.pth', best)
    assert_student_of(folder / 'student.pth', folder / 'iter_3.pth')


def test_a_killed_export_is_made_up_for_from_the_best_checkpoint(scripted):
    cfg, _, folder = scripted([30., 20.])
    (folder / 'student_best_PSNR_iter_1.pth').unlink()
    resumed([10.], cfg, folder / 'iter_2.pth')
    assert_student_of(folder / 'student_best_PSNR_iter_1.pth', folder / 'best_PSNR_iter_1.pth')


def test_another_run_in_the_same_folder_leaves_no_outdated_export(scripted):
    _, _, folder = scripted([30., 20.])
    old = state(folder / 'student_best_PSNR_iter_1.pth')
    scripted([30., 20.], randomness=dict(seed=7))
    new = state(folder / 'student_best_PSNR_iter_1.pth')
    assert_student_of(folder / 'student_best_PSNR_iter_1.pth', folder / 'best_PSNR_iter_1.pth')
    assert any(not torch.equal(value, old[name]) for name, value in new.items())


def test_nothing_is_left_half_written(scripted):
    _, _, folder = scripted([30.])
    assert not list(folder.rglob('*.part'))
