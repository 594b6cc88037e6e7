"""What tests need installed is installed: `make tools` on a machine that has nothing names it."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("package", ["nodejs", "liblo-tools", "openssl", "iproute2"])
def test_a_machine_that_has_nothing_is_told_of_each_package(package: str, tmp_path: Path) -> None:
    steps = re.search(r"^tools:\n\t@\.ci/need (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert steps is not None
    # Without a PATH there is no program, and no apt either.
    done = subprocess.run(
        ["/bin/sh", ROOT / ".ci/need", *steps[1].split()],
        env={"PATH": str(tmp_path)}, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert package in done.stderr.split()
