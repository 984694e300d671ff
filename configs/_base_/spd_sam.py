# spd.py with the masks of SAM ViT-H, for real runs: its checkpoint is downloaded, or named in
# model.spd.masks.segmenter.checkpoint. Masks are computed once, before training, into model.spd.masks.cache_dir.
_base_ = './spd.py'

spd = dict(masks=dict(segmenter=dict(_delete_=True, type='SAMMasks', model_type='vit_h', checkpoint=None)))
