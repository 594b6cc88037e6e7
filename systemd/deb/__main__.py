"""Builds the Debian packages: python systemd/deb [--arch amd64 --arch arm64] [--suite trixie] [--out dist], or --lock;
with --wheel, wheels for the same machines.

Run by the Python that the checkout was built with, after the build (`make deb` does both).
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import layout
import native
import own_wheel
import pack
import wheels
from targets import ARCHES, SUITES, Target

PROJECT = Path(__file__).resolve().parents[2]
WORK = PROJECT / "build" / "deb"
MIRROR = "http://deb.debian.org/debian"
DEFAULT_SUITE = "trixie"


def main() -> int:
    """Build what the arguments ask for; returns the exit status."""
    arguments = _parser().parse_args()
    os.umask(0o022)
    try:
        if arguments.lock:
            targets = [Target(suite, arch) for suite in SUITES.values() for arch in ARCHES.values()]
            wheels.write_lock(PROJECT, targets, WORK)
            return 0
        wheels.check_lock(PROJECT)
        for name in arguments.arch or ARCHES:
            target = Target(SUITES[arguments.suite], ARCHES[name])
            started_s = time.monotonic()
            if arguments.wheel:
                package = own_wheel.make(target, PROJECT, arguments.mirror, _empty(f"wheel-{name}"), arguments.out)
            else:
                package = build(target, None if arguments.reuse else arguments.mirror, arguments.out)
            size_mb = package.stat().st_size / 1e6
            print(f"{package}  {size_mb:.1f} MB, {time.monotonic() - started_s:.0f} s")
    except (wheels.LockError, native.NativeError) as error:
        print(f"deb: {error}", file=sys.stderr)
        return 1
    except subprocess.CalledProcessError as error:
        print(f"deb: {error.cmd[0]} failed with status {error.returncode}", file=sys.stderr)
        return 1
    return 0


def build(target: Target, mirror: str | None, out: Path) -> Path:
    """Build one package (`mirror` as in `layout.make`); returns its path."""
    work = _empty(f"{target.suite.name}-{target.arch.name}")
    tree = work / "tree"
    tree.mkdir()
    version, date = target.version(_upstream_version()), _date()
    layout.make(target, PROJECT, version, date, mirror, work, tree)
    libraries = native.dependencies(target, tree)
    return pack.pack(target, version, date, libraries, tree, out)


def _empty(name: str) -> Path:
    folder = WORK / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def _upstream_version() -> str:
    about: dict[str, str] = {}
    exec((PROJECT / "clasp_edge" / "version.py").read_text("utf-8"), about)
    return about["__version__"]


def _date() -> int:
    """$SOURCE_DATE_EPOCH, else the time of the commit, else of the file with the version."""
    if given := os.environ.get("SOURCE_DATE_EPOCH"):
        return int(given)
    command = ["git", "-C", str(PROJECT), "log", "-1", "--format=%ct"]
    done = subprocess.run(command, capture_output=True, text=True, check=False) if shutil.which("git") else None
    if done is not None and done.returncode == 0 and done.stdout.strip():
        return int(done.stdout)
    return int((PROJECT / "clasp_edge" / "version.py").stat().st_mtime)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="systemd/deb", description="Build the Debian packages.")
    parser.add_argument("--arch", action="append", choices=ARCHES, help="architecture; may be repeated (default: all)")
    parser.add_argument("--suite", choices=SUITES, default=DEFAULT_SUITE, help=f"release (default: {DEFAULT_SUITE})")
    parser.add_argument("--out", type=Path, default=PROJECT / "dist", help="where the packages go (default: dist)")
    parser.add_argument("--mirror", default=MIRROR, help=f"archive for Python's headers (default: {MIRROR})")
    parser.add_argument(
        "--reuse", action="store_true", help="take the modules of the ordinary build, made for this machine"
    )
    parser.add_argument("--wheel", action="store_true", help="build wheels of the router, without its libraries")
    parser.add_argument("--lock", action="store_true", help="write wheels.lock anew from what is installed here")
    return parser


if __name__ == "__main__":
    sys.exit(main())
