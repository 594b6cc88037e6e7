"""The libraries inside the package: wheels at the versions that the tests run with, pinned by hash in `wheels.lock`.

`wanted` reads versions from the Python that runs this, which has what the tests run with. Everything else reads the
lock, so that a build is the same wherever it is made.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from targets import Target

LOCK = Path(__file__).parent / "wheels.lock"

EXTRAS = ("bridge", "quic", "rules")
"""Optional parts that a board gets. Not `systemd`: that comes from Debian, there are no wheels of it."""

COMPILED_AGAINST = ("picows",)
"""Their compiled interface must be the one that our modules were made for."""

HEADER = """\
# The libraries inside the Debian packages, with the hashes of the wheels for every target. Made by: make deb-lock
"""

# Sources and declarations that a compiled module no longer needs, and what only tests or other machines use.
UNUSED_SUFFIXES = (".pyx", ".pxd", ".pxi", ".pyi", ".c", ".h", ".cpp", ".hpp")
UNUSED_FOLDERS = ("tests", "test", "_testbase")
UNUSED_FILES = ("_testcapi",)
UNUSED_METADATA = ("RECORD", "WHEEL", "entry_points.txt", "top_level.txt")


class LockError(Exception):
    """The lock and what is asked for do not fit together; the text says what to do."""


def wanted(project: Path) -> dict[str, str]:
    """Name and version of every library the daemon needs, as installed here."""
    table = tomllib.loads((project / "pyproject.toml").read_text("utf-8"))["project"]
    asked = [*table["dependencies"]]
    for extra in EXTRAS:
        asked += table["optional-dependencies"].get(extra, [])
    found: dict[str, str] = {}
    waiting = [Requirement(text) for text in asked]
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        for extra in requirement.extras or {""}:
            for text in importlib.metadata.requires(name) or ():
                inner = Requirement(text)
                if inner.marker is not None and not inner.marker.evaluate({"extra": extra}):
                    continue
                if canonicalize_name(inner.name) not in found or inner.extras:
                    waiting.append(inner)
        found[name] = importlib.metadata.version(name)
    return dict(sorted(found.items()))


def locked() -> dict[str, str]:
    """Name and version of what the lock has."""
    lines = LOCK.read_text("utf-8").splitlines()
    return dict(line.split(" ")[0].split("==", 1) for line in lines if "==" in line)


def write_lock(project: Path, targets: Iterable[Target], work: Path) -> None:
    """Fetch the wheels of every target and write down what they are."""
    versions = wanted(project)
    hashes: dict[str, set[str]] = {name: set() for name in versions}
    pins = work / "pins.txt"
    pins.parent.mkdir(parents=True, exist_ok=True)
    pins.write_text("".join(f"{name}=={version}\n" for name, version in versions.items()))
    for target in targets:
        folder = work / f"lock-{target.suite.name}-{target.arch.name}"
        shutil.rmtree(folder, ignore_errors=True)
        _pip_download(target, pins, folder, [])
        for wheel in folder.iterdir():
            name = canonicalize_name(wheel.name.split("-")[0])
            hashes[name].add(hashlib.sha256(wheel.read_bytes()).hexdigest())
    lines = [HEADER]
    for name, version in versions.items():
        words = [f"{name}=={version}", *(f"--hash=sha256:{digest}" for digest in sorted(hashes[name]))]
        lines.append(" \\\n    ".join(words) + "\n")
    LOCK.write_text("".join(lines))


def check_lock(project: Path) -> None:
    """Raise LockError where the lock lacks a library the daemon needs, has one too many, or has another version of one
    that the router is compiled against."""
    here, there = wanted(project), locked()
    wrong = {*(set(here) ^ set(there)), *(name for name in COMPILED_AGAINST if here.get(name) != there.get(name))}
    if wrong:
        names = ", ".join(sorted(wrong))
        raise LockError(f"{LOCK.name} and this Python have different libraries: {names}. To lock these: make deb-lock")


def unpack(target: Target, work: Path, into: Path) -> None:
    """Fetch the target's wheels as the lock has them, once, and unpack what is needed of them."""
    lock = hashlib.sha256(LOCK.read_bytes()).hexdigest()[:16]
    folder = work / f"wheels-{target.suite.name}-{target.arch.name}-{lock}"
    if not folder.exists():
        partial = folder.with_suffix(".partial")
        shutil.rmtree(partial, ignore_errors=True)
        _pip_download(target, LOCK, partial, ["--require-hashes"])
        partial.replace(folder)
    for wheel in sorted(folder.iterdir()):
        _unpack(wheel, into)


def _pip_download(target: Target, requirements: Path, folder: Path, options: list[str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    command += ["--only-binary=:all:", "--implementation=cp", f"--python-version={target.suite.python}"]
    command += [f"--abi={abi}" for abi in (target.tag, "abi3", "none")]
    command += [f"--platform={platform}" for platform in (*target.platforms, "any")]
    subprocess.run([*command, *options, "--dest", str(folder), "--requirement", str(requirements)], check=True)


def _unpack(wheel: Path, into: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        for name in sorted(archive.namelist()):
            path = PurePosixPath(name)
            if name.endswith("/") or path.is_absolute() or ".." in path.parts or not _used(path):
                continue
            # The wheel's own folder for what goes beside its packages (binary distribution format, "data").
            if path.parts[0].endswith(".data"):
                if path.parts[1] not in ("purelib", "platlib"):
                    continue
                path = PurePosixPath(*path.parts[2:])
            out = into / path
            out.parent.mkdir(parents=True, exist_ok=True)
            out.write_bytes(archive.read(name))


def _used(path: PurePosixPath) -> bool:
    if path.parts[0].endswith(".dist-info"):
        return path.name not in UNUSED_METADATA
    if path.name.split(".")[0] in UNUSED_FILES:
        return False
    return path.suffix not in UNUSED_SUFFIXES and not any(part in UNUSED_FOLDERS for part in path.parts[:-1])
