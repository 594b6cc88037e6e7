"""The last lines of the log, for who looks at a router without looking into its machine."""

from __future__ import annotations

import logging
import time
from collections import deque

KEPT_LINES = 300
LONGEST_LINE = 500


class LogTail(logging.Handler):
    """The last lines of the log."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.lines: deque[str] = deque(maxlen=KEPT_LINES)

    def emit(self, record: logging.LogRecord) -> None:
        stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(record.created))
        try:
            text = record.getMessage()
        except Exception:
            text = str(record.msg)
        self.lines.append(f"{stamp} {record.levelname.lower()} {record.name}: {text}"[:LONGEST_LINE])
