# The configuration of tools/quickstart.sh: rain made from scikit-image's photographs, masks from the small
# SAM of the package. tools/quickstart.py fills in the folders.
_base_ = './restormer_derain-tiny.py'

train_dataloader = dict(dataset=dict(data_root='work_dirs/quickstart/data/train'))
val_dataloader = dict(dataset=dict(data_root='work_dirs/quickstart/data/test'))
test_dataloader = val_dataloader
segmenter = dict(_delete_=True, type='SAMMasks', model_type='tiny')
model = dict(spd=dict(masks=dict(segmenter=segmenter, cache_dir='data/spd_masks')))

default_hooks = dict(checkpoint=dict(interval=50, save_best=None))
