"""What compares and draws runs: results and scalars, statistics, tables and plots. Nothing here imports mmagic."""

from .plots import draw_curves, draw_differences, draw_validations, png_of
from .results import RESULT_FILES, Results, by_set, load_results, save_results, sets_of, table_of
from .run_comparison import Cell, Level, Run, compare_runs, gather, read_tested
from .tables import (
    Interval,
    Measure,
    bootstrap,
    csv_text,
    markdown_table,
    paired_t,
    read_scalars,
    read_validated,
    show_value,
    text_table,
)
