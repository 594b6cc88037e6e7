"""argparse without what it would load to measure the terminal: compression libraries, by way of shutil, 0.4 MB in the
process that is going to be the router."""

from __future__ import annotations

import argparse
import os
from typing import Any

DEFAULT_COLUMNS = 80


class Parser(argparse.ArgumentParser):
    """An ArgumentParser, and so are the parsers of its commands."""

    def __init__(self, **options: Any) -> None:
        super().__init__(formatter_class=_formatter, **options)


def _formatter(prog: str) -> argparse.HelpFormatter:
    return argparse.HelpFormatter(prog, width=_columns() - 2)


def _columns() -> int:
    """As `shutil.get_terminal_size` finds it out."""
    given = os.environ.get("COLUMNS", "")
    if given.isdecimal() and int(given):
        return int(given)
    try:
        return os.get_terminal_size().columns or DEFAULT_COLUMNS
    except OSError:
        return DEFAULT_COLUMNS
