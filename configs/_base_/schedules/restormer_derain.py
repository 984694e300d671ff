# Restormer's training for deraining, for restormer_official_rain13k.py; see restormer.py.
#
# Data: data/Rain13K/{input,target} to train, data/Rain100L/{input,target} to validate.
# From your own photographs: python tools/dataset_converters/make_rain.py PHOTOGRAPHS data/Rain13K
_base_ = ['./restormer.py', '../datasets/rain13k.py']

train_dataloader = dict(dataset=_base_.pairs.train)
val_dataloader = dict(dataset=_base_.pairs.val)
val_evaluator = dict(metrics=[dict(type='PSNR', convert_to='Y'), dict(type='SSIM', convert_to='Y')])
