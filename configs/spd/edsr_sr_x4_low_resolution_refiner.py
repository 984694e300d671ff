# edsr_sr_x4.py with the other refiner of super-resolution: the student's own network, which gets the enlarged image at
# the small size and starts with the student's weights. It costs more: docs/cost.md, In training.
_base_ = './edsr_sr_x4.py'

model = dict(spd=dict(refiner=_base_.model.generator))

experiment_name = 'edsr_sr_x4_low_resolution_refiner'
work_dir = f'./work_dirs/{experiment_name}'
