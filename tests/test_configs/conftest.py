"""Prints what the walk over mmagic's configs found."""

from collections import Counter


def pytest_terminal_summary(terminalreporter):
    reports = terminalreporter.stats.get('passed', [])
    kinds = Counter(
        value for report in reports for key, value in getattr(report, 'user_properties', []) if key == 'mmagic_config'
    )
    if kinds:
        terminalreporter.section(f"mmagic's configs gone through: {sum(kinds.values())}")
        for kind, count in kinds.most_common():
            terminalreporter.line(f'{count:4d} {kind}')
