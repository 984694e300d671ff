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
