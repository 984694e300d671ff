# Restormer's training for motion deblurring, for restormer_official_gopro.py, and for defocus deblurring of one image
# (restormer_official_dpdd-single.py), where data_root and data_prefix name DPDD; see restormer.py.
#
# Data: data/gopro/{train,test}/{blur,sharp}. Published: crops of 512 pixels.
# From your own photographs: python tools/dataset_converters/make_blur.py PHOTOGRAPHS OUT
_base_ = ['./restormer.py', '../datasets/gopro.py']

train_dataloader = dict(dataset=_base_.pairs.train)
val_dataloader = dict(dataset=_base_.pairs.val)
