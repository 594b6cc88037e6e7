"""Programs that tests talk to. `make test` installs them first (`.ci/need`): a missing one is an error, not a skip."""

from __future__ import annotations

import functools
import os
import shutil

SYSTEM_FOLDERS = ":/usr/local/sbin:/usr/sbin:/sbin"
"""Not on everybody's path."""


class Missing(Exception):
    """A program is not installed; the text has the line to type."""


@functools.cache
def program(name: str, step: str) -> str:
    """The path of the program, which `.ci/need STEP` installs. Raises Missing."""
    found = shutil.which(name, path=os.environ.get("PATH", "") + SYSTEM_FOLDERS)
    if found is None:
        raise Missing(f"{name} is not installed. Please type:  sudo .ci/need {step}")
    return found
