"""`clasp-edge journal audit`: the trail as the journal has kept it, one line for each entry."""

from __future__ import annotations

import argparse
import sys
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path

import msgspec

from clasp_edge.cli.status_text import printable
from clasp_edge.config.model import Config
from clasp_edge.journal import tools
from clasp_edge.journal.audit import Kept
from clasp_edge.security.token_file import TokenFileError, seconds_of
from clasp_edge.security.trail import Entry

POLL_S = 0.3


def show(arguments: argparse.Namespace, config: Config, directory: Path) -> int:
    """Print the entries; exit status 0, 1 for a wrong argument."""
    try:
        since_s = time.time() - seconds_of(arguments.since) if arguments.since else 0.0
    except TokenFileError as error:
        print(f"clasp-edge: {error}", file=sys.stderr)
        return 1
    found = _wanted(tools.audit_entries(directory), since_s, arguments.word)
    reached = 0
    for number, entry in deque(found, arguments.n) if arguments.n > 0 else found:
        reached = number
        _print(entry, arguments.json)
    while arguments.follow:
        sys.stdout.flush()
        time.sleep(POLL_S)
        for number, entry in _wanted(tools.audit_entries(directory, reached + 1), since_s, arguments.word):
            reached = number
            _print(entry, arguments.json)
    return 0


def _wanted(kept: Iterator[Kept], since_s: float, word: str | None) -> Iterator[tuple[int, Entry]]:
    for one in kept:
        try:
            entry = msgspec.json.decode(one.data, type=Entry)
        except msgspec.DecodeError:
            continue  # of a later version
        if entry.time >= since_s and (not word or word in entry.text()):
            yield one.number, entry


def _print(entry: Entry, as_json: bool) -> None:
    if as_json:
        print(msgspec.json.encode(entry).decode())
    else:
        print(printable(f"{time.strftime('%Y-%m-%d %H:%M:%S', time.localtime(entry.time))} {entry.text()}"))
