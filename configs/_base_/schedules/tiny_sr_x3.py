# tiny.py for super-resolution by 3; metrics on the Y channel without a border of 3 pixels, as the field takes them.
_base_ = './tiny.py'

scale = 3

load_img, load_gt, set_values, crop, *others = _base_.train_pipeline
train_pipeline = [
    load_img,
    load_gt,
    {**set_values, 'dictionary': dict(scale=scale)},
    {**crop, 'gt_patch_size': 32 * scale},
    *others,
]
data_root = f'data/tiny/sr_x{scale}'
train_dataloader = dict(dataset=dict(data_root=f'{data_root}/train', pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(data_root=f'{data_root}/val'))
test_dataloader = val_dataloader
val_evaluator = [dict(type=metric, crop_border=scale, convert_to='Y') for metric in ('PSNR', 'SSIM')]
test_evaluator = val_evaluator

data_help = f"""Make pairs from two folders of photographs, one to train on and one to validate with:
python tools/dataset_converters/make_lowres.py PHOTOGRAPHS {data_root}/train --scale {scale}
python tools/dataset_converters/make_lowres.py OTHER_PHOTOGRAPHS {data_root}/val --scale {scale}"""
