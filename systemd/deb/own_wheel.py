"""The router's own wheel for a target: that of the ordinary build, with modules that were compiled for the target.

The tag says the oldest C library that has every function the modules use (PEP 600), as auditwheel finds it; nothing has
to be put in beside them, since they need no other library.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import native
from targets import OLDEST_MANYLINUX, Target

_C_LIBRARY = {"libc6"}
_TAG = re.compile(r"^Tag: .*$", re.MULTILINE)
_COMPILED = ".so"


def make(target: Target, project: Path, mirror: str, work: Path, out: Path) -> Path:
    """Build the wheel, in the folder `work` that is empty and its own; returns its path below `out`. Raises
    `native.NativeError` for modules that would not run there."""
    for stale in (project / "build").glob("lib*"):
        shutil.rmtree(stale)  # modules that are gone from the checkout would come along
    _run("pip", "wheel", "-q", "--no-build-isolation", "--no-deps", "-w", str(work), str(project))
    (ordinary,) = work.glob("clasp_edge-*.whl")
    _run("wheel", "unpack", "-d", str(work), str(ordinary))
    (tree,) = (path for path in work.iterdir() if path.is_dir())
    for module in tree.rglob(f"*{_COMPILED}"):
        module.unlink()
    native.compile_all(target, project, native.headers(target, mirror, work.parent), tree)
    native.strip(target, tree)
    libraries = {name.split()[0] for name in native.dependencies(target, tree)}
    if others := libraries - _C_LIBRARY:
        raise native.NativeError(f"a wheel has to bring what the modules need of {', '.join(sorted(others))}")
    minor = max(native.newest_glibc(target, tree)[0], OLDEST_MANYLINUX)
    (about,) = tree.glob("*.dist-info/WHEEL")
    tag = f"Tag: {target.tag}-{target.tag}-manylinux_2_{minor}_{target.arch.machine}"
    about.write_text(_TAG.sub(tag, about.read_text("utf-8"), count=1), "utf-8")
    out.mkdir(parents=True, exist_ok=True)
    (work / "packed").mkdir()
    _run("wheel", "pack", "-d", str(work / "packed"), str(tree))
    (packed,) = (work / "packed").iterdir()
    return Path(shutil.move(packed, out / packed.name))


def _run(module: str, *arguments: str) -> None:
    subprocess.run([sys.executable, "-m", module, *arguments], check=True, stdout=subprocess.DEVNULL)
