"""Hooks, and what the tools do to a config and a checkpoint."""
import mmsampriors.compat  # noqa: F401, I001  (mends mmagic before it is imported)

from .cpu_autocast import CPUAmpOptimWrapper
from .hooks import (CheckpointActivationsHook, CompileHook, ExactResumeHook, ExportStudentHook, FiniteLossHook,
                    MaskCacheHook, MaskCoverageHook, RefinedPSNRHook, RefinerGainHook, SPDScheduleHook,
                    SPDVisualizationHook)

__all__ = [
    'CPUAmpOptimWrapper', 'CheckpointActivationsHook', 'CompileHook', 'ExactResumeHook', 'ExportStudentHook',
    'FiniteLossHook', 'MaskCacheHook', 'MaskCoverageHook', 'RefinedPSNRHook', 'RefinerGainHook', 'SPDScheduleHook',
    'SPDVisualizationHook'
]
