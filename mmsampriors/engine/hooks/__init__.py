from .data import MaskCacheHook, UnlabeledHook
from .monitoring import (
    FiniteLossHook,
    MaskCoverageHook,
    PSNRGainHook,
    RefinedPSNRHook,
    SPDVisualizationHook,
    TimeLeftHook,
)
from .resume import ExactResumeHook
from .schedule import SPDScheduleHook
from .speed import CheckpointActivationsHook, CompileHook
from .student import BlendStudentHook, ExportStudentHook

__all__ = [
    'BlendStudentHook',
    'CheckpointActivationsHook',
    'CompileHook',
    'ExactResumeHook',
    'ExportStudentHook',
    'FiniteLossHook',
    'MaskCacheHook',
    'MaskCoverageHook',
    'RefinedPSNRHook',
    'PSNRGainHook',
    'SPDScheduleHook',
    'SPDVisualizationHook',
    'TimeLeftHook',
    'UnlabeledHook',
]
