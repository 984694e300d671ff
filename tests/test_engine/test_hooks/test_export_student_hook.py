import copy
from pathlib import Path

import pytest
import torch
from mmagic.evaluation import PSNR
from mmagic.registry import METRICS, MODELS
from mmengine.config import Config
from mmengine.hooks import EMAHook, Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner

import mmsampriors.engine  # noqa: F401

SCORES = []


@METRICS.register_module(force=True)
class ScriptedPSNR(PSNR):
    """Says what the test wants to hear, one score a validation."""

    def compute_metrics(self, results):
        score = SCORES.pop(0)
        return dict(zip(('PSNR', 'SSIM'), score)) if isinstance(score, tuple) else dict(PSNR=score)


@pytest.fixture
def scripted(runner_cfg):
    """A function that runs as many validations as there are scores, one after each iteration."""

    def run(scores, hooks=(dict(type='mmsampriors.ExportStudentHook'),), save_best='PSNR', **others):
        SCORES[:] = scores
        cfg = runner_cfg(max_iters=len(scores), hooks=hooks, **others)
        cfg['train_cfg']['val_interval'] = 1
        cfg['val_evaluator'] = [dict(type='ScriptedPSNR')]
        cfg['default_hooks']['checkpoint'].update(interval=1, save_best=save_best)
        runner = Runner.from_cfg(Config(cfg))
        runner.train()
        return cfg, runner, Path(cfg['work_dir'])

    return run


def state(path, key='state_dict'):
    return torch.load(path, weights_only=True, map_location='cpu')[key]


def students(folder):
    return sorted(path.name for path in folder.glob('student*'))


def assert_student_of(path, checkpoint):
    student, whole = state(path), state(checkpoint)
    assert student.keys() == {name for name in whole if name.startswith('generator.')}
    assert all(torch.equal(value, whole[name]) for name, value in student.items())


def test_the_last_and_the_best_student_are_exported_and_the_outdated_best_goes(scripted):
    cfg, runner, folder = scripted([20.0, 30.0, 25.0])
    assert students(folder) == [
        'student.pth',
        'student.py',
        'student_best_PSNR_iter_2.pth',
        'student_best_PSNR_iter_2.py',
    ]
    assert_student_of(folder / 'student.pth', folder / 'iter_3.pth')
    assert_student_of(folder / 'student_best_PSNR_iter_2.pth', folder / 'iter_2.pth')
    for name in ('student', 'student_best_PSNR_iter_2'):
        stock = MODELS.build(Config.fromfile(folder / f'{name}.py').model)
        assert type(stock).__name__ == 'BaseEditModel'
        stock.load_state_dict(state(folder / f'{name}.pth'), strict=True)


def test_each_metric_that_decides_has_its_best_student(scripted):
    _, _, folder = scripted([(20.0, 0.9), (30.0, 0.8), (25.0, 0.7)], save_best=['PSNR', 'SSIM'])
    best = ['best_PSNR_iter_2.pth', 'best_SSIM_iter_1.pth']
    assert [name for name in students(folder) if 'best' in name and name.endswith('.pth')] == [
        f'student_{name}' for name in best
    ]
    for name in best:
        assert_student_of(folder / f'student_{name}', folder / name)


def resumed(scores, cfg, checkpoint):
    SCORES[:] = scores
    again = {**cfg, 'load_from': str(checkpoint), 'resume': True, 'experiment_name': cfg['experiment_name'] + 'again'}
    again['train_cfg'] = dict(cfg['train_cfg'], max_iters=cfg['train_cfg']['max_iters'] + len(scores))
    Runner.from_cfg(Config(again)).train()


def test_after_a_resume_the_best_export_is_still_that_of_the_best_checkpoint(scripted):
    cfg, _, folder = scripted([30.0, 20.0])
    best = folder / 'best_PSNR_iter_1.pth'
    resumed([10.0], cfg, folder / 'iter_2.pth')
    assert students(folder)[2:] == ['student_best_PSNR_iter_1.pth', 'student_best_PSNR_iter_1.py']
    assert_student_of(folder / 'student_best_PSNR_iter_1.pth', best)
    assert_student_of(folder / 'student.pth', folder / 'iter_3.pth')


def test_a_killed_export_is_made_up_for_from_the_best_checkpoint(scripted):
    cfg, _, folder = scripted([30.0, 20.0])
    (folder / 'student_best_PSNR_iter_1.pth').unlink()
    resumed([10.0], cfg, folder / 'iter_2.pth')
    assert_student_of(folder / 'student_best_PSNR_iter_1.pth', folder / 'best_PSNR_iter_1.pth')


def test_another_run_in_the_same_folder_leaves_no_outdated_export(scripted):
    _, _, folder = scripted([30.0, 20.0])
    old = state(folder / 'student_best_PSNR_iter_1.pth')
    scripted([30.0, 20.0], randomness=dict(seed=7))
    new = state(folder / 'student_best_PSNR_iter_1.pth')
    assert_student_of(folder / 'student_best_PSNR_iter_1.pth', folder / 'best_PSNR_iter_1.pth')
    assert any(not torch.equal(value, old[name]) for name, value in new.items())


def test_nothing_is_left_half_written(scripted):
    _, _, folder = scripted([30.0])
    assert not list(folder.rglob('*.part'))


@HOOKS.register_module(force=True)
class SeenHook(Hook):
    """Notes the student's weights in validation and after training."""

    priority = 'VERY_HIGH'

    def before_train(self, runner):
        self.validated, self.last = [], None

    def before_val_iter(self, runner, batch_idx, data_batch=None):
        if not batch_idx:
            self.validated.append(copy.deepcopy(runner.model.generator.state_dict()))

    def after_train(self, runner):
        self.last = copy.deepcopy(runner.model.generator.state_dict())


def test_averaged_weights_are_validated_saved_and_exported(scripted, tmp_path, model_cfg):
    start = MODELS.build(model_cfg())
    torch.save(dict(state_dict=start.state_dict()), tmp_path / 'start.pth')
    cfg, runner, folder = scripted(
        [20.0, 30.0, 25.0],
        hooks=[dict(type='EMAHook', momentum=0.3), dict(type='mmsampriors.ExportStudentHook'), dict(type='SeenHook')],
        load_from=str(tmp_path / 'start.pth'),
    )
    seen = next(hook for hook in runner.hooks if isinstance(hook, SeenHook))
    raw = [state(folder / f'iter_{number}.pth', 'ema_state_dict') for number in (1, 2, 3)]
    name, average = 'generator.intro.weight', None
    for number, weights in enumerate(raw):
        now = weights[f'module.{name}']
        # mmengine copies the weights at the first step.
        average = now if average is None else 0.7 * average + 0.3 * now
        torch.testing.assert_close(state(folder / f'iter_{number + 1}.pth')[name], average)
        torch.testing.assert_close(seen.validated[number]['intro.weight'], average)
    assert not torch.equal(average, raw[-1][f'module.{name}'])
    assert torch.equal(seen.last['intro.weight'], raw[-1][f'module.{name}']), 'training goes on from the raw weights'
    assert_student_of(folder / 'student.pth', folder / 'iter_3.pth')
    assert_student_of(folder / 'student_best_PSNR_iter_2.pth', folder / 'iter_2.pth')
    assert (
        runner.model.feature_extractor
        is next(hook for hook in runner.hooks if isinstance(hook, EMAHook)).ema_model.module.feature_extractor
    )


def test_a_student_of_others_in_the_work_folder_stops_the_training_before_it_starts(scripted, tmp_path):
    (tmp_path / 'work').mkdir()
    (tmp_path / 'work' / 'student.pth').write_text('mine')
    with pytest.raises(FileExistsError, match=f'{tmp_path}/work/student.pth would be replaced'):
        scripted([20.0])
    assert (tmp_path / 'work' / 'student.pth').read_text() == 'mine' and not list(tmp_path.rglob('iter_*'))
