# Photographs without ground truth beside the pairs, for any SPD config: inherit it beside spd.py (or spd_sam.py), write
#   custom_hooks = _base_.get('custom_hooks', []) + _base_.spd_hooks + _base_.spd_unlabeled_hooks
# and put degraded photographs of any size and scene into the folder. [ours, METHOD.md: Unlabeled photographs]
# Distillation is gentle here (model.spd.distill.loss_weight=1): the photographs are what is to be learned from.

spd_unlabeled_hooks = [
    dict(
        type='mmsampriors.UnlabeledHook',
        folders=['data/unlabeled'],
        # Photographs for each pair of a batch, and how much each counts in L_SPD and L_SGR.
        share=0.5,
        weight=1.0,
        # Their masks: of the restored image of the fixed first student, such as
        #   dict(type='CachedMasks', segmenter=dict(type='SAMMasks', model_type='vit_h'), source='restored',
        #        restorer='student.pth', cache_dir='data/spd_masks_unlabeled')
        # None: the empty set.
        masks=None,
    ),
]
