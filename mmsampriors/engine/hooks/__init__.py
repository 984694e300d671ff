from .export_student_hook import ExportStudentHook
from .spd_schedule_hook import SPDScheduleHook
from .spd_visualization_hook import SPDVisualizationHook

__all__ = ['ExportStudentHook', 'SPDScheduleHook', 'SPDVisualizationHook']
