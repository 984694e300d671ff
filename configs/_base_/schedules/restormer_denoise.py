# Restormer's training for denoising from pairs, for restormer_official_sidd.py (real noise); see restormer.py. Noise
# that is drawn while training: restormer_denoise_gaussian.py and restormer_denoise_gaussian_gray.py.
#
# Published with mixup, which is left out: a mixture of two photographs has no masks.
# Data: data/SIDD/{train,val}/{noisy,gt} with names ID_NOISY.png and ID_GT.png.
# From your own photographs (make_noise.py PHOTOGRAPHS OUT): data_root=OUT, data_prefix=dict(img='input', gt='target'),
# filename_tmpl=dict(img='{}', gt='{}').
_base_ = ['./restormer.py', '../datasets/sidd.py']

train_dataloader = dict(dataset=_base_.pairs.train)
val_dataloader = dict(dataset=_base_.pairs.val)
