# Restormer, deraining, on Rain13K and on photographs of your own rain, which have no ground truth: docs/unlabeled.md.
_base_ = ['./restormer_derain.py', '../_base_/spd_unlabeled.py']

model = dict(spd=dict(distill=dict(loss_weight=1.0)))
custom_hooks = _base_.custom_hooks + _base_.spd_unlabeled_hooks
custom_hooks[-1].update(folders=['data/my_rain'])
