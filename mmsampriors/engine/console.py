"""What a person sees of a run: short lines on the console, everything in the log file."""

import logging
import re

from mmengine.logging import MMLogger
from mmengine.runner import Runner

from mmsampriors.models.schedules import STAGES

#: Messages of more lines (the environment, the whole config, the table of hooks) go to the file only.
MAX_LINES = 8


class ConsoleFilter(logging.Filter):
    """Keeps long messages that are no warnings from the console."""

    def filter(self, record: logging.LogRecord) -> bool:
        return record.levelno >= logging.WARNING or record.getMessage().count('\n') < MAX_LINES


class StageFilter(logging.Filter):
    """Writes the name of the stage into log lines, where mmengine has only numbers."""

    def filter(self, record: logging.LogRecord) -> bool:
        if 'spd.stage: ' in str(record.msg):
            record.msg = re.sub(
                r'spd\.stage: (\d)(?:\.0+)?(?!\S)', lambda found: f'spd.stage: {STAGES[int(found[1])]}', record.msg
            )
        return True


class ConsoleRunner(Runner):
    """mmengine's Runner with a console for people; the log file stays as it is."""

    def build_logger(self, *args, **kwargs) -> MMLogger:
        logger = super().build_logger(*args, **kwargs)
        logger.addFilter(StageFilter())
        for handler in logger.handlers:
            if not isinstance(handler, logging.FileHandler):
                handler.addFilter(ConsoleFilter())
        return logger
