"""Where log lines go: records with fields to a journal's real socket, lines with a priority, plain text."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
from support.daemon import PROJECT_ROOT

DISTRIBUTION = Path("/usr/lib/python3/dist-packages/systemd")
"""Where Debian has systemd-python."""

PROGRAM = """
import logging, sys
from clasp_edge.daemon import logs
logs.set_up("info")

class Session:
    def __repr__(self):
        return "<desk>"
    def journal_fields(self):
        return {"CLASP_SESSION": "s1", "CLASP_CLIENT": "two\\nlines"}

log = logging.getLogger("clasp_edge.router")
log.info("%r: connected", Session())
log.debug("not this")
try:
    1 / 0
except ZeroDivisionError:
    log.exception("broken: %s", "arithmetic")
log.warning("peer %s: refused there: %s", "box", "no\\n<2>forged\\x1b[2J")
"""

SAID = r"clasp_edge.router: peer box: refused there: no\n<2>forged\x1b[2J"
"""One line, whatever a peer has said."""

MOUNTED = """
mount -t tmpfs tmpfs /run && mkdir -p /run/systemd/journal && mount --bind "$1" /run/systemd/journal && shift &&
exec "$@"
"""


def run(stderr: Path, *, prefix: tuple[str, ...] = (), path: tuple[Path, ...] = (), journal: bool = True) -> str:
    """What the program writes to standard error, which systemd connected to the journal if `journal`."""
    with stderr.open("wb") as file:
        stat = os.fstat(file.fileno())
        environment = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": ":".join(map(str, (*path, PROJECT_ROOT))),
            "JOURNAL_STREAM": f"{stat.st_dev}:{stat.st_ino if journal else 1}",
        }
        command = [*prefix, sys.executable, "-c", PROGRAM]
        subprocess.run(command, stderr=file, env=environment, timeout=30, check=True)
    return stderr.read_text()


def fields_of(entry: bytes) -> dict[str, str]:
    """An entry in the journal's own protocol: `KEY=value` lines, or a key, the value's length and the value."""
    fields = {}
    while entry:
        line, _, entry = entry.partition(b"\n")
        key, equals, value = line.partition(b"=")
        if not equals:
            size = int.from_bytes(entry[:8], "little")
            value, entry = entry[8 : 8 + size], entry[9 + size :]
        fields[key.decode()] = value.decode()
    return fields


def test_text_for_people_elsewhere(tmp_path: Path) -> None:
    text = run(tmp_path / "stderr", journal=False)
    assert re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} INFO clasp_edge\.router: <desk>: connected\n", text)
    assert "ERROR clasp_edge.router: broken: arithmetic\nTraceback" in text
    assert "not this" not in text
    assert text.endswith(f" WARNING {SAID}\n")


def test_lines_with_a_priority_where_the_library_is_missing(tmp_path: Path) -> None:
    empty = tmp_path / "systemd"
    empty.mkdir()
    (empty / "__init__.py").write_text("")  # nothing of systemd-python in it
    lines = run(tmp_path / "stderr", path=(tmp_path,)).splitlines()
    assert lines[:3] == [
        "<6>clasp_edge.router: <desk>: connected",
        "<3>clasp_edge.router: broken: arithmetic",
        "<3>Traceback (most recent call last):",
    ]
    assert all(line.startswith("<3>") for line in lines[1:-1])
    assert lines[-1] == f"<4>{SAID}"


@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("unshare") is None, reason="needs root and unshare")
@pytest.mark.skipif(
    not (DISTRIBUTION / f"_journal.{sysconfig.get_config_var('SOABI')}.so").exists(),
    reason="python3-systemd is not installed for this Python",
)
def test_records_with_fields_where_the_journal_listens(tmp_path: Path) -> None:
    journal, library = tmp_path / "journal", tmp_path / "library"
    journal.mkdir()
    library.mkdir()
    (library / "systemd").symlink_to(DISTRIBUTION)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(journal / "socket"))
        listener.settimeout(5)
        prefix = ("unshare", "--mount", "sh", "-c", MOUNTED, "sh", str(journal))
        assert run(tmp_path / "stderr", prefix=prefix, path=(library,)) == ""
        first, second = (fields_of(listener.recv(65536)) for _ in range(2))
    assert first["MESSAGE"] == "<desk>: connected"
    assert first["PRIORITY"] == "6"
    assert first["SYSLOG_IDENTIFIER"] == "clasp-edge"
    assert first["LOGGER"] == "clasp_edge.router"
    assert (first["CLASP_SESSION"], first["CLASP_CLIENT"]) == ("s1", "two\nlines")
    assert second["PRIORITY"] == "3"
    assert second["MESSAGE"].startswith("broken: arithmetic\nTraceback")
    assert {"CODE_FILE", "CODE_LINE", "CODE_FUNC"} <= set(second)
