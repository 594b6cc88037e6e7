"""A disk that a test lets answer or not, for one process. Needs a C compiler, as building the project does."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SOURCE = Path(__file__).with_name("held_disk.c")


@functools.cache
def _library() -> Path:
    compiler = shutil.which("cc") or shutil.which("gcc")
    assert compiler is not None, "a C compiler is needed"
    target = Path(tempfile.mkdtemp(prefix="clasp-edge-disk-")) / "held_disk.so"
    subprocess.run([compiler, "-O1", "-shared", "-fPIC", "-o", target, SOURCE, "-ldl"], check=True, timeout=60)
    return target


class HeldDisk:
    """A `daemon.Manager`: starts a daemon whose syncs wait while they are held."""

    def __init__(self, directory: Path) -> None:
        self._gate = directory / "held"

    def command(self, command: list[str]) -> list[str]:
        return command

    def environment(self) -> dict[str, str]:
        # Behind what is there already: a sanitiser's library has to come first.
        preloaded = [*os.environ.get("LD_PRELOAD", "").split(), str(_library())]
        return {"LD_PRELOAD": ":".join(preloaded), "HELD_DISK": str(self._gate)}

    def descriptors(self) -> tuple[int, ...]:
        return ()

    @contextmanager
    def held(self) -> Iterator[None]:
        """Nothing is stored meanwhile."""
        self._gate.touch()
        try:
            yield
        finally:
            self._gate.unlink()
