from .export_student_hook import ExportStudentHook
from .mask_cache_hook import MaskCacheHook
from .spd_schedule_hook import SPDScheduleHook
from .spd_visualization_hook import SPDVisualizationHook

__all__ = ['ExportStudentHook', 'MaskCacheHook', 'SPDScheduleHook', 'SPDVisualizationHook']
