"""Where log lines go: plain text for people at a terminal or in a file, records with fields to systemd's journal.

The journal keeps time, priority and source by itself: what is text elsewhere becomes fields there (systemd.journal-
fields(7)). Fields come from systemd-python where that is installed; without it, lines carry their priority in front.
"""

from __future__ import annotations

import importlib
import logging
import os
import sys
from collections.abc import Callable, Mapping

TEXT = "%(asctime)s %(levelname)s %(name)s: %(message)s"

IDENTIFIER = "clasp-edge"

# syslog(3): error, warning, info, debug.
_PRIORITIES = ((logging.CRITICAL, 2), (logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6))


def set_up(level: str) -> None:
    """Send the log of the process to its place; `level` as in `log.level`."""
    handler: logging.Handler
    if not goes_to_journal():
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(OneLine(TEXT))
    elif (send := _sender()) is not None:
        handler = JournalHandler(send)
    else:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(_PrefixedFormatter("%(name)s: %(message)s"))
    logging.basicConfig(level=level.upper(), handlers=[handler])


def goes_to_journal() -> bool:
    """Whether standard error is connected to the journal (`$JOURNAL_STREAM`, systemd.exec(5))."""
    try:
        stat = os.fstat(2)
    except OSError:
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{stat.st_dev}:{stat.st_ino}"


def _sender() -> Callable[..., None] | None:
    try:
        journal = importlib.import_module("systemd.journal")
    except ImportError:
        return None
    send: Callable[..., None] = journal.send
    return send


def priority_of(level: int) -> int:
    """The priority of syslog for a level of `logging`."""
    return next((priority for least, priority in _PRIORITIES if level >= least), 7)


class JournalHandler(logging.Handler):
    """Records as entries of the journal. Beside the usual fields: LOGGER, and those that what the record speaks of
    has to add (`journal_fields()` of an argument), such as CLASP_SESSION."""

    def __init__(self, send: Callable[..., None]) -> None:
        super().__init__()
        self._send = send
        self.setFormatter(OneLine("%(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        try:
            fields: dict[str, object] = {}
            arguments = record.args.values() if isinstance(record.args, Mapping) else record.args or ()
            for argument in arguments:
                if (more := getattr(argument, "journal_fields", None)) is not None:
                    fields |= more()
            self._send(
                self.format(record),
                PRIORITY=priority_of(record.levelno),
                SYSLOG_IDENTIFIER=IDENTIFIER,
                LOGGER=record.name,
                CODE_FILE=record.pathname,
                CODE_LINE=record.lineno,
                CODE_FUNC=record.funcName,
                **fields,
            )
        except Exception:
            self.handleError(record)


class OneLine(logging.Formatter):
    """What a message says is one line, whoever has chosen the words: a name or an error's text of somebody else neither
    looks like another entry nor moves a terminal's cursor. A traceback below it keeps its lines."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # the name logging.Formatter has
        line = super().formatMessage(record)
        if line.isprintable():
            return line
        return "".join(character if character.isprintable() else repr(character)[1:-1] for character in line)


class _PrefixedFormatter(OneLine):
    """Each line with its priority in front, which the journal takes off (sd-daemon(3))."""

    def format(self, record: logging.LogRecord) -> str:
        prefix = f"<{priority_of(record.levelno)}>"
        return "\n".join(prefix + line for line in super().format(record).split("\n"))
