from .blend_student_hook import BlendStudentHook
from .checkpoint_activations_hook import CheckpointActivationsHook
from .compile_hook import CompileHook
from .exact_resume_hook import ExactResumeHook
from .export_student_hook import ExportStudentHook
from .finite_loss_hook import FiniteLossHook
from .mask_cache_hook import MaskCacheHook
from .mask_coverage_hook import MaskCoverageHook
from .refined_psnr_hook import RefinedPSNRHook
from .refiner_gain_hook import RefinerGainHook
from .spd_schedule_hook import SPDScheduleHook
from .spd_visualization_hook import SPDVisualizationHook
from .time_left_hook import TimeLeftHook
from .unlabeled_hook import UnlabeledHook

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
    'RefinerGainHook',
    'SPDScheduleHook',
    'SPDVisualizationHook',
    'TimeLeftHook',
    'UnlabeledHook',
]
