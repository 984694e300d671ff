# One student on several degradations in one go, most of them unlike what it was trained on. The test sets are made from
# any folder of photographs: python tools/dataset_converters/make_robustness.py PHOTOGRAPHS data/robustness
#
#   _base_ = ['my_config.py', 'mmsampriors::_base_/robustness.py']
#   test_dataloader, test_evaluator = _base_.robustness.derain.dataloaders, _base_.robustness.derain.evaluators
#   test_cfg, data_help = dict(type='MultiTestLoop'), _base_.robustness_help
#
# with derain, deblur or denoise. mmengine refuses one key in two bases, so the child names these keys.

robustness_help = """The test sets of _base_/robustness.py are made from any folder of photographs:
python tools/dataset_converters/make_robustness.py PHOTOGRAPHS data/robustness"""

robustness_pipeline = [
    dict(type='LoadImageFromFile', key='img', channel_order='rgb'),
    dict(type='LoadImageFromFile', key='gt', channel_order='rgb'),
    dict(type='PackInputs'),
]

robustness_sets = dict(
    derain=['rain', 'rain_heavy', 'rain_slanted', 'rain_long', 'rain_veiled'],
    deblur=['blur', 'blur_long', 'blur_straight'],
    denoise=['noise_25', 'noise_15', 'noise_50', 'noise_75', 'noise_poisson'],
)

# Deraining is measured on the Y channel, deblurring and denoising on RGB, as the field does.
robustness = dict(
    (
        task,
        dict(
            dataloaders=[
                dict(
                    num_workers=4,
                    persistent_workers=False,
                    drop_last=False,
                    sampler=dict(type='DefaultSampler', shuffle=False),
                    dataset=dict(
                        type='BasicImageDataset',
                        metainfo=dict(dataset_type=name, task_name=task),
                        data_root=f'data/robustness/{name}',
                        data_prefix=dict(img='input', gt='target'),
                        pipeline=robustness_pipeline,
                    ),
                )
                for name in names
            ],
            evaluators=[
                [
                    dict(type=metric, prefix=name, convert_to='Y' if task == 'derain' else None)
                    for metric in ('PSNR', 'SSIM')
                ]
                for name in names
            ],
        ),
    )
    for task, names in robustness_sets.items()
)
