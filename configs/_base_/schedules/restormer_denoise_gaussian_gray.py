# As restormer_denoise_gaussian.py, for gray images: restormer_official_dfwb-gray-sigma*.py.
_base_ = './restormer_denoise_gaussian.py'

train_pipeline = [
    {**step, 'color_type': 'grayscale'} if step['type'] == 'LoadImageFromFile' else step
    for step in _base_.train_pipeline
]
val_pipeline = [
    {**step, 'color_type': 'grayscale'} if step['type'] == 'LoadImageFromFile' else step for step in _base_.val_pipeline
]

train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(
    dataset=dict(
        metainfo=dict(dataset_type='BSD68', task_name='denoising'),
        data_prefix=dict(img='BSD68', gt='BSD68'),
        pipeline=val_pipeline,
    )
)
