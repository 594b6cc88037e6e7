"""Builds what the benchmarks run: the load generators, the forwarder, the reference router, a certificate.

Responsible for: where the built programs lie and how they are compiled. Must not know: workloads, how peers are run.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
BUILD = ROOT / "build" / "benchmarks"
FORWARDER = HERE / "peers" / "forwarder"
CLASP_ROUTER = HERE / "peers" / "clasp_router"
QUIC_LOAD = HERE / "peers" / "quic_load"


class BuildError(Exception):
    """Something could not be built; the text says what and what to do."""


def _run(command: list[str], cwd: Path, what: str) -> None:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise BuildError(f"{what} could not be built ({' '.join(command)}):\n{done.stdout}{done.stderr}")


def load_generator() -> Path:
    """The path of the compiled load generator; rebuilt when a source is newer."""
    if shutil.which("make") is None or (shutil.which("cc") is None and "CC" not in os.environ):
        raise BuildError("the load generator needs make and a C compiler (apt install build-essential)")
    BUILD.mkdir(parents=True, exist_ok=True)
    program = BUILD / "claspload"
    _run(["make", "-s", f"OUT={program}"], HERE / "load", "the load generator")
    return program


def forwarder() -> Path:
    """The directory to put on the forwarder's path, with its compiled half in it."""
    target = BUILD / "forwarder"
    target.mkdir(parents=True, exist_ok=True)
    source = FORWARDER / "forwarder_core.pyx"
    built = list(target.glob("forwarder_core*.so"))
    if not built or built[0].stat().st_mtime < source.stat().st_mtime:
        for package in ("Cython", "setuptools"):
            if importlib.util.find_spec(package) is None:
                raise BuildError(f"the forwarder needs {package} (pip install Cython setuptools)")
        command = [sys.executable, str(FORWARDER / "setup.py"), "-q", "build_ext", "--build-lib", str(target)]
        _run([*command, "--build-temp", str(target / "temp")], target, "the forwarder")
    return target


def _built_by_cargo(crate: Path, name: str) -> Path | None:
    program = Path(os.environ.get("CARGO_TARGET_DIR", crate / "target")) / "release" / name
    return program if program.exists() else None


def reference_router() -> Path | None:
    """The path of the reference router if it has been built, else None."""
    return _built_by_cargo(CLASP_ROUTER, "clasp-router-peer")


def quic_load() -> Path | None:
    """The path of the load generator for QUIC if it has been built, else None."""
    return _built_by_cargo(QUIC_LOAD, "clasp-quic-load")


def certificate() -> dict[str, Path]:
    """A certificate and its key for peers that have none of their own, as the files `{form}_certificate` and
    `{form}_key` in the forms pem and der. Raises BuildError."""
    directory = BUILD / "certificate"
    files = {
        f"{form}_{what}": directory / f"{what}.{form}" for form in ("pem", "der") for what in ("certificate", "key")
    }
    if not all(file.exists() for file in files.values()):
        directory.mkdir(parents=True, exist_ok=True)
        make = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 3650 -subj /CN=localhost"
        more = "-addext subjectAltName=DNS:localhost -addext basicConstraints=critical,CA:FALSE"
        out = f"-out {files['pem_certificate']} -keyout {files['pem_key']}"
        for command in (
            f"{make} {more} {out}",
            f"openssl x509 -in {files['pem_certificate']} -outform DER -out {files['der_certificate']}",
            f"openssl pkcs8 -topk8 -nocrypt -in {files['pem_key']} -outform DER -out {files['der_key']}",
        ):
            _run(command.split(), directory, "a certificate")
    return files


def build_reference_router() -> Path:
    """Builds the reference router with cargo; takes some minutes the first time.

    Raises BuildError where cargo or the crate registry is missing.
    """
    if shutil.which("cargo") is None:
        raise BuildError("the reference router needs cargo; without it the benchmarks skip that peer")
    for crate in (CLASP_ROUTER, QUIC_LOAD):
        _run(["cargo", "build", "--release", "--locked"], crate, "the reference router")
    program = reference_router()
    if program is None:
        raise BuildError("cargo built the reference router, but its program is not where it belongs")
    return program
