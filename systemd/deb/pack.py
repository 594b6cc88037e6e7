"""From a tree to a .deb: control files, modes, times, the archive. The same tree gives the same bytes."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import layout
from targets import Target

SCRIPTS = ("preinst", "postinst", "prerm", "postrm")

DESCRIPTION = """\
Description: CLASP router for single-board computers
 Routes params, events, streams, gestures and timelines between CLASP clients,
 MQTT and OSC devices, remembers every param through a power cut, and restarts
 without refusing a connection.
 .
 The libraries it needs lie in a directory of its own, at the versions it was
 tested with."""


def pack(target: Target, version: str, date: int, libraries: Sequence[str], tree: Path, out: Path) -> Path:
    """Make `clasp-edge_VERSION_ARCH.deb` of the tree in the folder `out`; returns its path."""
    control = tree / "DEBIAN"
    control.mkdir()
    for name in SCRIPTS:
        script = layout.FILES / name
        if script.exists():
            shutil.copyfile(script, control / name)
    (control / "conffiles").write_text("".join(f"{name}\n" for name in layout.CONFFILES))
    (control / "md5sums").write_text(_md5sums(tree))
    (control / "control").write_text(_control(target, version, libraries, tree))
    _settle(tree, date)
    out.mkdir(parents=True, exist_ok=True)
    package = out / f"clasp-edge_{version}_{target.arch.name}.deb"
    command = ["dpkg-deb", "--root-owner-group", "-Zxz", "--build", str(tree), str(package)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=os.environ | {"SOURCE_DATE_EPOCH": str(date)})
    return package


def _control(target: Target, version: str, libraries: Sequence[str], tree: Path) -> str:
    major, minor = target.suite.python.split(".")
    depends = [
        f"python3 (>= {target.suite.python}~)",
        f"python3 (<< {major}.{int(minor) + 1}~)",
        "python3-systemd",
        "systemd",
        *libraries,
    ]
    size_kib = sum((path.lstat().st_size + 1023) // 1024 for path in tree.rglob("*") if path.is_file())
    return (
        f"Package: clasp-edge\nVersion: {version}\nArchitecture: {target.arch.name}\n"
        f"Maintainer: {layout.MAINTAINER}\nInstalled-Size: {size_kib}\nDepends: {', '.join(depends)}\n"
        f"Section: net\nPriority: optional\n{DESCRIPTION}\n"
    )


def _md5sums(tree: Path) -> str:
    lines = []
    for path in sorted(tree.rglob("*")):
        name = str(path.relative_to(tree))
        if path.is_file() and not name.startswith("DEBIAN/") and f"/{name}" not in layout.CONFFILES:
            lines.append(f"{hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()}  {name}\n")
    return "".join(lines)


def _settle(tree: Path, date: int) -> None:
    """Modes and times that do not depend on who builds, and when."""
    started = {*layout.executables(tree), *(tree / "DEBIAN" / name for name in SCRIPTS)}
    for path in (tree, *tree.rglob("*")):
        path.chmod(0o755 if path.is_dir() or path in started else 0o644)
        os.utime(path, (date, date))
