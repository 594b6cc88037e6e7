"""The compiled modules of the router for a target: C that Cython has written, that architecture's compiler, and the
headers of that release's Python.

The headers come from Debian's archive for the target, with an apt of its own that touches nothing of this machine.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import re
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from targets import Target

KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")

# The other flags are those of the ordinary build, which stand in the C file.
FLAGS = ("-shared", "-fPIC", "-DNDEBUG", "-fwrapv", "-fno-strict-aliasing", "-fstack-protector-strong",
    "-D_FORTIFY_SOURCE=2", "-Wl,-z,relro", "-Wl,-z,now")  # fmt: skip

_METADATA = re.compile(r"/\* BEGIN: Cython Metadata\n(.*?)\nEND: Cython Metadata \*/", re.DOTALL)
_MODULE = re.compile(r"\.so(\.[0-9.]+)?$")
_NEEDED = re.compile(r"\(NEEDED\).*\[(.*)\]")
_GLIBC = re.compile(r"GLIBC_2\.(\d+)")

# Which package of Debian has a library that compiled modules need.
PACKAGES = {
    "libc.so.6": "libc6",
    "libm.so.6": "libc6",
    "libpthread.so.0": "libc6",
    "libdl.so.2": "libc6",
    "librt.so.1": "libc6",
    "ld-linux-aarch64.so.1": "libc6",
    "ld-linux-x86-64.so.2": "libc6",
    "libgcc_s.so.1": "libgcc-s1",
    "libstdc++.so.6": "libstdc++6",
}


class NativeError(Exception):
    """Something cannot be compiled, or would not run there; the text says what."""


def headers(target: Target, mirror: str, work: Path) -> Path:
    """The folder that has `usr/include/pythonX.Y` of the target; fetched once."""
    folder = work / f"headers-{target.suite.name}-{target.arch.name}"
    done = folder / "done"
    if done.exists():
        return folder
    apt = folder / "apt"
    for name in ("state/lists/partial", "cache/archives/partial", "etc"):
        (apt / name).mkdir(parents=True, exist_ok=True)
    (apt / "state/status").write_text("")
    (apt / "etc/sources.list").write_text(f"deb [signed-by={KEYRING}] {mirror} {target.suite.name} main\n")
    options = {
        "Dir::State": apt / "state",
        "Dir::State::status": apt / "state/status",
        "Dir::Cache": apt / "cache",
        "Dir::Etc::sourcelist": apt / "etc/sources.list",
        "Dir::Etc::sourceparts": "-",
        "APT::Architecture": target.arch.name,
        "APT::Architectures": target.arch.name,
        "APT::Sandbox::User": "root" if os.geteuid() == 0 else "",
        "Acquire::Languages": "none",
    }
    command = ["apt-get", "-qq", *(f"-o{key}={value}" for key, value in options.items())]
    subprocess.run([*command, "update"], check=True)
    package = f"libpython{target.suite.python}-dev"
    subprocess.run([*command, "download", package], cwd=folder, check=True)
    (archive,) = folder.glob(f"{package}_*.deb")
    subprocess.run(["dpkg-deb", "--extract", archive, folder], check=True)
    done.write_text(f"{archive.name}\n")
    return folder


def reuse_all(target: Target, project: Path, into: Path) -> None:
    """Take the modules that the ordinary build has made, which is possible where the target is this machine."""
    modules = sorted((project / "clasp_edge").rglob(f"*{target.extension}"))
    if not modules:
        raise NativeError(f"the ordinary build has made no modules *{target.extension}")
    for module in modules:
        out = into / module.relative_to(project)
        out.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(module, out)


def compile_all(target: Target, project: Path, include: Path, into: Path) -> None:
    """Compile every C file that the ordinary build has left into modules for the target, below `into`. What has been
    compiled before is kept beside the headers."""
    sources = sorted(
        path for path in (project / "clasp_edge").rglob("*.c") if _METADATA.search(path.read_text("utf-8"))
    )
    pyx = {path.with_suffix(".c") for path in (project / "clasp_edge").rglob("*.pyx")}
    if missing := pyx - set(sources):
        raise NativeError(f"not built yet: {', '.join(sorted(str(path) for path in missing))}")
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(lambda source: _compile(target, project, include, source, into), sources))


def _compile(target: Target, project: Path, include: Path, source: Path, into: Path) -> None:
    text = source.read_text("utf-8")
    found = _METADATA.search(text)
    assert found is not None
    about = json.loads(found[1]).get("distutils", {})
    relative = source.relative_to(project)
    out = into / relative.with_suffix("").with_suffix(target.extension)
    out.parent.mkdir(parents=True, exist_ok=True)
    compiler = f"{target.arch.triplet}-gcc"
    folders = [include / "usr/include" / f"python{target.suite.python}", include / "usr/include"]
    command = [compiler, *FLAGS, *about.get("extra_compile_args", []), f"-ffile-prefix-map={project}=."]
    command += [f"-I{folder}" for folder in folders]
    kept = include / "modules" / hashlib.sha256("\0".join((*command, _release(compiler), text)).encode()).hexdigest()
    if not kept.exists():
        kept.parent.mkdir(exist_ok=True)
        made = kept.with_suffix(f".{os.getpid()}")
        done = subprocess.run(
            [*command, "-o", str(made), str(relative)], cwd=project, capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            raise NativeError(f"{relative}: {compiler} says:\n{done.stderr[-2000:]}")
        made.replace(kept)
    shutil.copyfile(kept, out)


@functools.cache
def _release(compiler: str) -> str:
    try:
        done = subprocess.run([compiler, "--version"], capture_output=True, text=True, check=True)
    except FileNotFoundError:
        raise NativeError(f"the compiler {compiler} is not installed") from None
    return done.stdout


def strip(target: Target, tree: Path) -> None:
    """Take debug symbols out of every module below `tree`; wheels bring megabytes of them."""
    subprocess.run([f"{target.arch.triplet}-strip", "--strip-unneeded", *map(str, _modules(tree))], check=True)


def dependencies(target: Target, tree: Path) -> list[str]:
    """The packages that the compiled modules below `tree` need, for `Depends:`. Raises NativeError for one that would
    not run on the target."""
    modules = _modules(tree)
    needed = {name for module in modules for name in _NEEDED.findall(_readelf(target, "--dynamic", module))}
    newest, module = newest_glibc(target, tree)
    if newest > target.suite.glibc[1]:
        raise NativeError(f"{module} needs glibc 2.{newest}, Debian {target.suite.number} has an older one")
    if unknown := needed - set(PACKAGES) - {module.name for module in modules}:
        raise NativeError(f"no package is known for {', '.join(sorted(unknown))}")
    packages = {PACKAGES[name] for name in needed if name in PACKAGES}
    return [f"{name} (>= 2.{newest})" if name == "libc6" else name for name in sorted(packages)]


def newest_glibc(target: Target, tree: Path) -> tuple[int, str]:
    """N of the newest interface GLIBC_2.N that a compiled module below `tree` uses, and which module that is."""
    asked = [(_readelf(target, "--version-info", module), module.name) for module in _modules(tree)]
    return max((int(minor), name) for said, name in asked for minor in ("0", *_GLIBC.findall(said)))


def _modules(tree: Path) -> list[Path]:
    return sorted(path for path in tree.rglob("*") if _MODULE.search(path.name))


def _readelf(target: Target, option: str, module: Path) -> str:
    command = [f"{target.arch.triplet}-readelf", "--wide", option, str(module)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout
