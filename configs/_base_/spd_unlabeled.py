# Photographs without ground truth beside the pairs, for any SPD config [ours]: inherit it beside that config and write
#   custom_hooks = _base_.custom_hooks + _base_.spd_unlabeled_hooks
# A config of mmagic's inherits spd.py (or spd_sam.py) and this, with one line for the hooks of both:
#   custom_hooks = _base_.get('custom_hooks', []) + _base_.spd_hooks + _base_.spd_unlabeled_hooks
# See docs/unlabeled.md, also for the hook that a finished network gets besides. Distil gently:
# model.spd.losses.spd.loss_weight=1.

spd_unlabeled_hooks = [
    dict(
        type='mmsampriors.UnlabeledHook',
        folders=['data/unlabeled'],
        # Photographs for each pair of a batch, and how much each counts in L_SPD and L_SGR.
        per_pair=0.5,
        weight=1.0,
        # How often the initial student restores a photograph before it is refined: heavy rain is not gone at once. In
        # super-resolution it must be 1.
        cascade=2,
        # Their masks: of the restored image of the frozen initial student, such as
        #   dict(type='CachedMasks', segmenter=dict(type='SAMMasks', model_type='vit_h'), source='restored',
        #        restorer='student.pth', cache_dir='data/spd_masks_unlabeled')
        # None: the empty set.
        masks=None,
    ),
]
