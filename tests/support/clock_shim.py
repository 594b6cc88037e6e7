"""The wall clock of one process, set by a test while it runs. Needs a C compiler, as building the project does."""

from __future__ import annotations

import functools
import mmap
import os
import shutil
import struct
import subprocess
import tempfile
from pathlib import Path

SOURCE = Path(__file__).with_name("clock_shim.c")
_NUMBERS = struct.Struct("=qq")
NS = 1_000_000_000


@functools.cache
def _library() -> Path:
    compiler = shutil.which("cc") or shutil.which("gcc")
    assert compiler is not None, "a C compiler is needed"
    target = Path(tempfile.mkdtemp(prefix="clasp-edge-clock-")) / "clock_shim.so"
    subprocess.run([compiler, "-O1", "-shared", "-fPIC", "-o", target, SOURCE, "-ldl"], check=True, timeout=60)
    return target


class ShiftedClock:
    """`environment` is for the process; `shift` and `claim_synchronised` take effect at once, while it runs too."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / "clock"
        self._path.write_bytes(_NUMBERS.pack(0, 0))
        with self._path.open("r+b") as file:
            self._page = mmap.mmap(file.fileno(), _NUMBERS.size)

    @property
    def environment(self) -> dict[str, str]:
        """What makes a process see this clock."""
        # Behind what is there already: a sanitiser's library has to come first.
        preloaded = [*os.environ.get("LD_PRELOAD", "").split(), str(_library())]
        return {"LD_PRELOAD": ":".join(preloaded), "TEST_CLOCK_FILE": str(self._path)}

    def shift(self, seconds: float) -> None:
        """From now on the wall clock is this much ahead of the system's."""
        _, claim = _NUMBERS.unpack(self._page)
        self._page[:] = _NUMBERS.pack(round(seconds * NS), claim)

    def claim_synchronised(self, synchronised: bool) -> None:
        """What the kernel is made to say about its clock."""
        offset, _ = _NUMBERS.unpack(self._page)
        self._page[:] = _NUMBERS.pack(offset, 1 if synchronised else 2)

    def close(self) -> None:
        self._page.close()
        os.unlink(self._path)


class ByClock:
    """A `daemon.Manager`: starts a daemon that sees this clock."""

    def __init__(self, clock: ShiftedClock) -> None:
        self._clock = clock

    def command(self, command: list[str]) -> list[str]:
        return command

    def environment(self) -> dict[str, str]:
        return self._clock.environment

    def descriptors(self) -> tuple[int, ...]:
        return ()
