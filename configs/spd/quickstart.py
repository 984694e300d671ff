# The configuration of tools/quickstart.sh: rain on scikit-image's photographs, masks of the small SAM of the package,
# and heavier rain without ground truth. mmsampriors/quickstart fills in folders, numbers of steps and the schedule.
_base_ = ['./nafnet_derain-tiny.py', '../_base_/spd_unlabeled.py']

# Every photograph gets as many rains as there are data sets here. They share the ground truth, and so its masks.
train_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type='ConcatDataset',
        datasets=[
            dict(
                type='BasicImageDataset',
                data_root='work_dirs/quickstart/data/train',
                data_prefix=dict(img=f'rain_{number}/input', gt='rain_0/target'),
                pipeline=_base_.train_pipeline,
            )
            for number in range(8)
        ],
    )
)
val_dataloader = dict(dataset=dict(data_root='work_dirs/quickstart/data/test_heavier'))
test_dataloader = val_dataloader

model = dict(
    generator=dict(_delete_=True, type='mmsampriors.DnCNN', channels=3, width=16, depth=6, norm=False),
    spd=dict(
        masks=dict(
            segmenter=dict(_delete_=True, type='SAMMasks', model_type='tiny'),
            cache_dir='work_dirs/quickstart/masks',
        ),
        spf=dict(channels=8),
        losses=dict(spd=dict(loss_weight=1.0)),
    ),
)

# The quickstart draws a panel of its own.
custom_hooks = [hook for hook in _base_.custom_hooks if 'Visualization' not in hook['type']]
custom_hooks += _base_.spd_unlabeled_hooks
custom_hooks[-1].update(folders=[f'work_dirs/quickstart/data/heavier/rain_{number}/input' for number in range(8)])

default_hooks = dict(logger=dict(interval=10), checkpoint=dict(interval=50, save_best=None))

data_help = 'python tools/quickstart.py makes the pairs of this config'
