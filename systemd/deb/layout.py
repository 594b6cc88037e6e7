"""What lies where in the package. Makes the tree; knows nothing of archives.

/usr/bin/clasp-edge                 the command
/usr/lib/clasp-edge/                the router and the wheels it needs: private, so that nothing else is disturbed
/usr/lib/systemd/system/            units
/usr/lib/sysusers.d/clasp-edge.conf
/etc/clasp-edge/clasp-edge.toml     configuration file, kept over upgrades
/etc/clasp-edge/conf.d/
"""

from __future__ import annotations

import gzip
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable
from email.parser import HeaderParser
from pathlib import Path

import native
import wheels
from targets import Target

FILES = Path(__file__).parent / "files"

HOME = "usr/lib/clasp-edge"
DOCUMENTS = "usr/share/doc/clasp-edge"
MAINTAINER = "clasp-edge developers <clasp-edge@packages.invalid>"

CONFFILES = ("/etc/clasp-edge/clasp-edge.toml",)

PROGRAM = f"""\
#!/usr/bin/python3 -I
import sys

sys.path.insert(0, "/{HOME}")

from clasp_edge.cli.main import main

sys.exit(main())
"""

SOURCES = (".py", ".toml", ".html", ".css", ".js", ".svg", ".json", ".typed")
"""Kinds of files that the package takes from the checkout; compiled modules are made for the target."""


def make(target: Target, project: Path, version: str, date: int, mirror: str | None, work: Path, tree: Path) -> None:
    """Fill `tree` with everything the package installs. `date` is Unix time, for the changelog. Without a `mirror` for
    Python's headers nothing is compiled, and the modules of the ordinary build are taken."""
    home = tree / HOME
    wheels.unpack(target, work.parent, home)
    _copy_sources(project, home)
    if mirror is None:
        native.reuse_all(target, project, home)
    else:
        native.compile_all(target, project, native.headers(target, mirror, work.parent), home)
    native.strip(target, home)
    _write(tree / "usr/bin/clasp-edge", PROGRAM)
    units = project / "systemd"
    for unit in sorted((*units.glob("*.service"), *units.glob("*.socket"))):
        _copy(unit, tree / "usr/lib/systemd/system" / unit.name)
    _copy(units / "sysusers.conf", tree / "usr/lib/sysusers.d/clasp-edge.conf")
    _copy(units / "clasp-edge.toml", tree / "etc/clasp-edge/clasp-edge.toml")
    (tree / "etc/clasp-edge/conf.d").mkdir()
    for page in sorted((project / "docs").rglob("*.md")):
        _copy(page, tree / DOCUMENTS / page.relative_to(project / "docs"))
    _write(tree / DOCUMENTS / "copyright", _copyright(home))
    _write(tree / DOCUMENTS / "changelog.gz", _zipped(_changelog(target, version, date)))
    _write(tree / "usr/share/man/man1/clasp-edge.1.gz", _zipped(_made(project, "man")))
    _write(tree / "usr/share/bash-completion/completions/clasp-edge", _made(project, "bash"))
    _write(tree / "usr/share/zsh/vendor-completions/_clasp-edge", _made(project, "zsh"))


def _made(project: Path, kind: str) -> str:
    """The manual page or a completion, from the command line's own parser; nothing of it needs to be compiled."""
    program = (
        "import sys; from clasp_edge.cli import arguments, completion; "
        "print(getattr(completion, sys.argv[1])(arguments.parser()), end='')"
    )
    made = subprocess.run(
        [sys.executable, "-c", program, kind], cwd=project, env={}, check=True, capture_output=True, text=True
    )
    return made.stdout


def _copy_sources(project: Path, home: Path) -> None:
    for path in sorted((project / "clasp_edge").rglob("*")):
        if path.is_file() and (path.suffix in SOURCES or path.name == "py.typed") and "__pycache__" not in path.parts:
            _copy(path, home / path.relative_to(project))


def _copyright(home: Path) -> str:
    """What Debian asks for, from what the wheels say of themselves."""
    lines = [
        "clasp-edge: Copyright (C) 2026 the clasp-edge developers.",
        "",
        "The following libraries of others come with it, without their debug symbols, sources and tests. Where a",
        "wheel brings the text of its licence, it lies in the folder given. The text of the Apache License 2.0 is in",
        "/usr/share/common-licenses/Apache-2.0.",
        "",
    ]
    for folder in sorted(home.glob("*.dist-info")):
        about = HeaderParser().parsestr((folder / "METADATA").read_text("utf-8"))
        licence = about["License-Expression"] or (about["License"] or "").split("\n")[0]
        if not licence:
            classifiers = about.get_all("Classifier") or []
            licence = "; ".join(text.split(" :: ")[-1] for text in classifiers if text.startswith("License"))
        author = about["Author"] or about["Author-email"] or "its authors"
        place = folder.name + ("/licenses" if (folder / "licenses").is_dir() else "")
        lines += [
            f"{about['Name']} {about['Version']}",
            f"  Copyright: {author}",
            f"  Licence: {licence or 'see the folder'}",
            f"  Folder: /{HOME}/{place}",
            "",
        ]
    return "\n".join(lines)


def _changelog(target: Target, version: str, date: int) -> str:
    when = time.strftime("%a, %d %b %Y %H:%M:%S +0000", time.gmtime(date))
    return (
        f"clasp-edge ({version}) {target.suite.name}; urgency=medium\n\n  * Built from the sources of this version.\n\n"
        f" -- {MAINTAINER}  {when}\n"
    )


def _zipped(text: str) -> bytes:
    return gzip.compress(text.encode(), 9, mtime=0)


def _write(path: Path, content: str | bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)


def _copy(source: Path, to: Path) -> None:
    to.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, to)


def executables(tree: Path) -> Iterable[Path]:
    """The files that a person or a script starts."""
    return (tree / "usr/bin").iterdir()
