# SAM-prior distillation for any mmagic restoration config. Inherit it and write
#   model = dict(type='mmsampriors.SPDModel', spd=_base_.spd)
#   custom_hooks = _base_.get('custom_hooks', []) + _base_.spd_hooks
# Override through model.spd, not here: _base_.spd is copied when the child is read.

spd = dict(
    # M: where the masks come from. Felzenszwalb's segments need no weights, so that this runs anywhere, and are no
    # replacement for SAM's masks: for a real run take segmenter=dict(type='SAMMasks', model_type='vit_h').
    masks=dict(
        type='CachedMasks',
        segmenter=dict(type='FelzenszwalbMasks', scale=250, sigma=0.8, min_size=500),
        source='gt',
        cache_dir='data/spd_masks',
    ),
    # g: how masks are fused into what the refiner sees.
    spf=dict(type='SPFUnit', inject='feature'),
    # r: a network config, or None for the student's own architecture; in super-resolution for a small network at full
    # size.
    refiner=None,
    # V: the frozen network whose features SGR compares. EfficientNet-Lite0 needs no download; VGGExtractor is the
    # paper's.
    feature_extractor=dict(type='EfficientNetExtractor', stage=2),
    # What the student learns from the refined image besides its own loss; NAME=None switches a loss off, and one of
    # your own is another entry.
    losses=dict(
        # λ1: how many times the gradient of a difference from the truth the same difference from the refined image has.
        spd=dict(type='SPDLoss', loss_weight=3.0),
        # λ2: the gradient norm of the relations relative to that of the student's own loss; relative=False makes it a
        # plain factor.
        sgr=dict(type='SGRLoss', loss_weight=0.1),
    ),
    # First the student alone, then the refiner over it, then the student again under the refiner. The student learns in
    # half of the iterations: for as many updates as without SPD, double max_iters. With a trained student (load_from)
    # set warmup=0.
    schedule=dict(type='TwoStageSchedule', warmup=0.125, refiner=0.5),
)

spd_hooks = [
    # Computes stored masks that are missing, before training.
    dict(type='mmsampriors.MaskCacheHook'),
    # Order and augmentation as functions of the seed: a killed run goes on as if nothing had been. Plain training that
    # is compared with SPD needs it too: both then see the same patches.
    dict(type='mmsampriors.ExactResumeHook'),
    # What each iteration trains: stages, ramps, separate clipping.
    dict(type='mmsampriors.SPDScheduleHook'),
    # Stops where a loss is not finite; warns where masks are few, or the refiner has nothing to teach.
    dict(type='mmsampriors.FiniteLossHook'),
    dict(type='mmsampriors.MaskCoverageHook'),
    dict(type='mmsampriors.PSNRGainHook'),
    # refined/PSNR beside PSNR, and panels, at each validation.
    dict(type='mmsampriors.RefinedPSNRHook'),
    dict(type='mmsampriors.SPDVisualizationHook'),
    # The time that is left, at each iteration.
    dict(type='mmsampriors.TimeLeftHook'),
    # student.pth at the end and beside each best checkpoint.
    dict(type='mmsampriors.ExportStudentHook'),
]
