"""What was measured, in tables and files; nothing here imports mmagic, so that reading results is quick."""
from .results import Results, by_set, load_results, save_results, sets_of, table_of
from .runs import Cell, Measure, Measured, Run, compare_runs, gather, read_tested, read_validated
from .tables import csv_text, markdown_table, show_value, text_table, write_whole

__all__ = [
    'Cell', 'Measure', 'Measured', 'Results', 'Run', 'by_set', 'compare_runs', 'csv_text', 'gather', 'load_results',
    'markdown_table', 'read_tested', 'read_validated', 'save_results', 'sets_of', 'show_value', 'table_of',
    'text_table', 'write_whole'
]
