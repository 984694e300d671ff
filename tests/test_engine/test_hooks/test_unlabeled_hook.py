import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.runner import Runner

from mmsampriors.engine.hooks import UnlabeledHook
from mmsampriors.models.mask_sources import CachedMasks

TWO_STAGE = dict(type='TwoStageSchedule', refiner=0.5)


@pytest.fixture
def photographs(tmp_path):
    """Two folders with three photographs that no pair has, larger than a patch and each of one colour."""
    for folder, names in (('a', ['one', 'two']), ('b', ['three'])):
        (tmp_path / folder).mkdir()
        for number, name in enumerate(names):
            image = np.full((60, 70, 3), 40 * number + 40, np.uint8)
            image[:, :, 0] = 250  # blue for cv2
            assert cv2.imwrite(str(tmp_path / folder / f'{name}.png'), image)
    return [str(tmp_path / 'a'), str(tmp_path / 'b')]


def hooks(photographs, **options):
    return [
        dict(type='mmsampriors.MaskCacheHook'),
        dict(type='mmsampriors.ExactResumeHook'),
        dict(type='mmsampriors.UnlabeledHook', folders=photographs, **options),
    ]


class Batches:
    """What the model is trained on, kept."""

    def __init__(self, runner):
        self.kept = []
        step = runner.model.train_step

        def train_step(data, optim_wrapper):
            self.kept.append(data)
            return step(data, optim_wrapper=optim_wrapper)

        runner.model.train_step = train_step


def run(cfg, **changes):
    runner = Runner.from_cfg(Config(cfg))
    batches = Batches(runner)
    runner.train()
    return runner, batches.kept


def labels(batch):
    return [sample.metainfo['labelled'] for sample in batch['data_samples']]


def test_photographs_are_added_where_something_is_distilled(runner_cfg, photographs):
    cfg = runner_cfg(max_iters=4, schedule=TWO_STAGE, hooks=hooks(photographs))
    runner, batches = run(cfg)
    assert [labels(batch) for batch in batches] == 2 * [[True, True]] + 2 * [[True, True, False]]
    cfg = runner_cfg(
        max_iters=4, schedule=TWO_STAGE, hooks=hooks(photographs)[1:2], work_dir=runner.work_dir + '_plain'
    )
    _, plain = run(cfg)
    for ours, theirs in zip(batches, plain):
        assert all(torch.equal(mine, other) for mine, other in zip(ours['inputs'], theirs['inputs'])), 'pairs stay'
    for batch in batches[2:]:
        photograph, sample = batch['inputs'][2], batch['data_samples'][2]
        assert photograph.shape == (3, 48, 48) and (photograph[2] == 250).all(), 'loaded as RGB, and cropped'
        assert sample.metainfo['img_path'].startswith(tuple(photographs))


def test_a_small_share_of_small_batches_adds_up(runner_cfg, photographs):
    cfg = runner_cfg(max_iters=10, schedule=TWO_STAGE, hooks=hooks(photographs, per_pair=0.2))
    _, batches = run(cfg)
    assert [labels(batch).count(False) for batch in batches] == 7 * [0] + [1, 0, 1]


def test_photographs_are_added_to_whole_steps_of_accumulated_iterations(runner_cfg, photographs):
    """Iteration 3 is the first after the stage of the refiner, and the second of a step that began in it."""
    cfg = runner_cfg(max_iters=6, schedule=TWO_STAGE, hooks=hooks(photographs))
    cfg['optim_wrapper']['accumulative_counts'] = 2
    _, batches = run(cfg)
    assert [labels(batch).count(False) for batch in batches] == 4 * [0] + 2 * [1]


def test_a_resumed_run_sees_the_same_photographs(runner_cfg, photographs):
    def cfg(**others):
        made = runner_cfg(max_iters=6, schedule=TWO_STAGE, hooks=hooks(photographs, per_pair=1.0), **others)
        made['default_hooks']['checkpoint'].update(interval=4)
        return made

    whole, batches = run(cfg())
    weights = {name: weight.clone() for name, weight in whole.model.state_dict().items()}
    resumed, rest = run(
        cfg(work_dir=whole.work_dir + '_resumed', load_from=f'{whole.work_dir}/iter_4.pth', resume=True)
    )
    assert len(rest) == 2 and all(
        torch.equal(mine, other)
        for ours, theirs in zip(rest, batches[4:])
        for mine, other in zip(ours['inputs'], theirs['inputs'])
    )
    assert all(torch.equal(weight, weights[name]) for name, weight in resumed.model.state_dict().items())


def test_photographs_bring_stored_masks_of_their_own(runner_cfg, photographs, tmp_path, monkeypatch):
    released = []
    monkeypatch.setattr(CachedMasks, 'release', lambda self: released.append(self.cache_dir))
    segmenter = dict(type='FelzenszwalbMasks', min_size=20)
    stored = dict(type='CachedMasks', segmenter=segmenter, source='gt', cache_dir=str(tmp_path / 'pairs_masks'))

    def cfg(name, masks):
        made = runner_cfg(schedule=TWO_STAGE, hooks=hooks(photographs, masks=masks), work_dir=tmp_path / name)
        made['model']['spd']['masks'] = stored
        return made

    _, batches = run(cfg('none', None))
    counts = [len(sample.masks) for sample in batches[2]['data_samples']]
    assert counts[0] and not counts[2] and batches[2]['data_samples'][2].masks.size == (48, 48)
    # A student to restore them, as the first stage leaves it.
    student = dict(source='restored', restorer=str(tmp_path / 'none' / 'iter_4.pth'))
    theirs = dict(stored, cache_dir=str(tmp_path / 'masks'), **student)
    _, batches = run(cfg('restored', theirs))
    assert len(batches[2]['data_samples'][2].masks)
    assert len(list((tmp_path / 'masks').rglob('*.masks'))) == 3
    assert theirs['cache_dir'] in released, 'the segmenter stays on the device'
    with pytest.raises(ValueError, match='no ground truth'):
        run(cfg('gt', dict(stored, cache_dir=str(tmp_path / 'other'))))


def test_pairs_that_are_degraded_at_random_leave_photographs_as_they_are(runner_cfg, photographs):
    cfg = runner_cfg(schedule=TWO_STAGE, hooks=hooks(photographs))
    pipeline = cfg['train_dataloader']['dataset']['pipeline']
    noise = dict(noise_type=['gaussian'], noise_prob=[1], gaussian_sigma=[50, 50], gaussian_gray_noise_prob=0)
    pipeline[0:1] = []
    pipeline[1:1] = [
        dict(type='CopyValues', src_keys=['gt'], dst_keys=['img']),
        dict(type='RandomNoise', keys=['img'], params=noise),
    ]
    _, batches = run(cfg)
    assert len(batches[2]['inputs']) == 3 and (batches[2]['inputs'][2][2] == 250).all()
    assert batches[2]['inputs'][0].float().std() > 40


@pytest.mark.parametrize(
    'change, message',
    [
        (dict(folders=['/nowhere']), 'no such folder'),
        (dict(masks=dict(type='LabelMapMasks', folder='x')), 'stores none'),
    ],
)
def test_what_cannot_work_is_refused(runner_cfg, photographs, change, message):
    cfg = runner_cfg(schedule=TWO_STAGE, hooks=hooks(**{'photographs': photographs}))
    cfg['custom_hooks'][-1].update(change)
    with pytest.raises(ValueError, match=message):
        run(cfg)


def test_without_exact_resume_it_is_refused(runner_cfg, photographs):
    with pytest.raises(ValueError, match='needs ExactResumeHook'):
        run(runner_cfg(schedule=TWO_STAGE, hooks=hooks(photographs)[2:]))


@pytest.mark.parametrize(
    'options', [dict(folders='data'), dict(folders=[]), dict(folders=['a'], per_pair=0), dict(folders=['a'], cascade=0)]
)
def test_options_are_checked(options):
    with pytest.raises(ValueError, match='UnlabeledHook needs'):
        UnlabeledHook(**options)
