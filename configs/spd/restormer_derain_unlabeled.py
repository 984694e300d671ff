# A finished Restormer goes on for a twentieth of its training, on Rain13K and on photographs of your own rain, which
# have no ground truth: docs/unlabeled.md. First 5,000 iterations for the refiner, then 10,000 for the student.
_base_ = ['./restormer_derain.py', '../_base_/spd_unlabeled.py']

load_from = 'https://download.openmmlab.com/mmediting/restormer/restormer_official_rain13k-2be7b550.pth'

model = dict(
    spd=dict(
        # Masks added nothing to the gain of this, and SAM's of the whole of Rain13K take hours. For them
        # delete these two lines.
        masks=dict(_delete_=True, type='NoMasks'),
        losses=dict(spd=dict(loss_weight=1.0), sgr=None),
        schedule=dict(warmup=0.0, refiner=1 / 3),
    )
)
custom_hooks = _base_.custom_hooks + _base_.spd_unlabeled_hooks
custom_hooks[-1].update(folders=['data/my_rain'])
# The student ends half of the way to its new weights. 1: all of the way, for more in your rain and less in Rain13K's.
custom_hooks += [dict(type='mmsampriors.BlendStudentHook', end_weight=0.5)]

# One stage of patches, at half of the learning rate that the training began with.
train_dataloader = dict(batch_size=2, batch_sampler=dict(batch_sizes=[2], patch_sizes=[256], iters=[15_000]))
train_cfg = dict(max_iters=15_000, val_interval=1_000)
param_scheduler = dict(
    _delete_=True,
    type='CosineRestartLR',
    by_epoch=False,
    periods=[5_000, 10_000],
    restart_weights=[1, 0.5],
    eta_min=1e-6,
)
experiment_name = 'restormer_derain_unlabeled'
work_dir = f'./work_dirs/{experiment_name}'
