"""Hooks, and what the tools do to a config and a checkpoint."""

from mmsampriors.engine.optim.cpu_autocast import CPUAmpOptimWrapper

from .hooks import (
    CheckpointActivationsHook,
    CompileHook,
    ExactResumeHook,
    ExportStudentHook,
    FiniteLossHook,
    MaskCacheHook,
    MaskCoverageHook,
    RefinedPSNRHook,
    RefinerGainHook,
    SPDScheduleHook,
    SPDVisualizationHook,
    TimeLeftHook,
)

__all__ = [
    'CPUAmpOptimWrapper',
    'CheckpointActivationsHook',
    'CompileHook',
    'ExactResumeHook',
    'ExportStudentHook',
    'FiniteLossHook',
    'MaskCacheHook',
    'MaskCoverageHook',
    'RefinedPSNRHook',
    'RefinerGainHook',
    'SPDScheduleHook',
    'SPDVisualizationHook',
    'TimeLeftHook',
]
