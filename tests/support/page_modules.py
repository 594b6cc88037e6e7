"""The page's modules as Node takes them: before version 20.19 a `.js` is one only where a `package.json` says so."""

from __future__ import annotations

import atexit
import functools
import shutil
import tempfile
from pathlib import Path

from support.daemon import PROJECT_ROOT

_WEB = PROJECT_ROOT / "clasp_edge" / "console" / "web"


@functools.cache
def page_modules() -> Path:
    """A copy of the page's folder, until the process ends."""
    directory = Path(tempfile.mkdtemp(prefix="clasp-edge-page-"))
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    shutil.copytree(_WEB, directory, dirs_exist_ok=True)
    (directory / "package.json").write_text('{"type": "module"}')
    return directory
