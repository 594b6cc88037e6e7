"""What tests need installed is installed: `make tools` on a machine that has nothing names it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import sysconfig
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


def test_make_run_compiles_once(tmp_path: Path) -> None:
    """An editable installation would compile everything again, in a folder of its own."""
    command = ["make", "-n", "--no-print-directory", "run", f"VENV={tmp_path / 'new'}", "PYTHON=python3"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=True)
    assert len(re.findall(r"setup\.py|pip install (?!-q --no-compile -r)", done.stdout)) == 1


def test_a_checkout_becomes_the_package_of_its_environment(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "new"], timeout=60, check=True)
    python, script = tmp_path / "new/bin/python", tmp_path / "new/bin/clasp-edge"
    subprocess.run([python, ROOT / ".ci/in_place"], timeout=60, check=True)
    # The libraries are lent by the environment that runs this; a .pth file in there counts for nothing on this path.
    environment = os.environ | {"PYTHONPATH": sysconfig.get_path("purelib")}
    where = "import clasp_edge; print(clasp_edge.__file__)"
    for command, expected in (
        ([python, "-c", where], str(ROOT / "clasp_edge/__init__.py")),
        ([script, "--version"], "clasp-edge "),
    ):
        done = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60, check=True
        )
        assert done.stdout.startswith(expected)


def test_a_python_of_no_environment_is_left_alone(tmp_path: Path) -> None:
    base = os.path.realpath(sys.executable)
    done = subprocess.run([base, ROOT / ".ci/in_place"], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, "virtual environment" in done.stderr) == (1, True)
