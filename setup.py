"""The compiled part of the build: every .pyx, and the plain Python modules that are compiled for speed.

Everything declarative is in pyproject.toml.
"""

import gc
import os
import sys
import threading
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

# Plain Python with a .pxd beside it: readable and type-checked as Python, compiled because the data plane calls it.
COMPILED_PYTHON = ["clasp_edge/wire/glob_program.py", "clasp_edge/wire/pattern.py"]

# What reads each key of ten thousand rules. Annotations are for people and mypy: values are whatever a file has.
COMPILED_AS_IT_IS = [
    f"clasp_edge/rules/{name}.py" for name in ("actions", "conditions", "parse", "patterns", "table", "templates")
]

CYTHON = sorted(str(path) for path in Path("clasp_edge").rglob("*.pyx"))

# Used at start-up, for a replay, for an operator or once for a subscription, or mostly calls of Python:
# compiled in two thirds of the time.
RARELY_RUN = {
    "clasp_edge/wire/glob_program.py",
    *COMPILED_AS_IT_IS,
    "clasp_edge/dataplane/browse.pyx",
    "clasp_edge/dataplane/nearness.pyx",
    "clasp_edge/dataplane/system.pyx",
    "clasp_edge/devices/mqtt_bridge/said.pyx",
    "clasp_edge/journal/log_scan.pyx",
    "clasp_edge/journal/restore.pyx",
    "clasp_edge/journal/summary.pyx",
}

# Line tracing and C assertions cost speed; the sanitiser build of `make fuzz` turns its own flags on by CFLAGS. No -g:
# Python's own flags have it, and it costs a fifth of the time. Warnings are of what Cython has written.
QUIET = ["-Wno-unreachable-code", "-Wno-unused-function", "-Wno-sign-compare"]
FLAGS = ["-g0", "-fno-plt", "-fvisibility=hidden", *QUIET]
SANITIZERS: list[str] = []
if os.environ.get("SANITIZE"):  # .ci/sanitized, in a copy of the tree: every access is checked
    SANITIZERS = ["-fsanitize=address,undefined", "-fno-sanitize-recover=undefined"]
    FLAGS = ["-g1", "-fno-omit-frame-pointer", *QUIET, *SANITIZERS]

# What every message goes through: there deeper inlining is worth its compile time.
HOT = {
    f"clasp_edge/dataplane/{name}.pyx"
    for name in (
        "arena",
        "clasp_input",
        "clasp_receiver",
        "clasp_sender",
        "json_value",
        "outbox",
        "params",
        "past",
        "plane",
        "room",
        "routing",
        "state",
        "table",
        "versions",
    )
}


def extension(source: str) -> Extension:
    """The module that a .pyx or .py file is compiled into."""
    name = os.path.splitext(source)[0].replace("/", ".")
    level = "-O1" if source in RARELY_RUN or SANITIZERS else "-O3" if source in HOT else "-O2"
    return Extension(name, [source], extra_compile_args=[level, *FLAGS], extra_link_args=SANITIZERS)


class Announced(build_ext):
    """Says what it compiles, a line for each module: on a small board it is minutes until the first sign of life."""

    def build_extensions(self) -> None:
        self._announced = 0
        self._lock = threading.Lock()
        super().build_extensions()

    def build_extension(self, ext: Extension) -> None:
        objects = self.get_ext_fullpath(ext.name)
        newest = max(os.path.getmtime(path) for path in (*ext.sources, *ext.depends))
        if self.force or not os.path.exists(objects) or os.path.getmtime(objects) < newest:
            with self._lock:
                self._announced += 1
                print(f"  compiling {self._announced:2}/{len(self.extensions)} {ext.name}", file=sys.stderr, flush=True)
        super().build_extension(ext)


# What nobody uses of a compiled class (copies by pickle, signatures in docstrings, functions with a dictionary) is a
# seventh of the C code.
options = {"language_level": 3, "embedsignature": False, "auto_pickle": False, "binding": False}
# Each line of the source as a comment in the C code: only for whoever reads that.
options["emit_code_comments"] = False
# Only code written with raw memory in mind goes without Python's index checks.
unchecked = {"boundscheck": False, "wraparound": False, "cdivision": True, "initializedcheck": False}
jobs = os.cpu_count() or 1
# Cython makes trees of a hundred thousand objects; looking for garbage among them as often as Python does by itself
# is a quarter of its time.
gc.set_threshold(200_000, 20, 100)


def translated(sources: list[str], directives: dict[str, object], processes: int) -> list[Extension]:
    """The modules of these sources, with their C code up to date."""
    return cythonize([extension(source) for source in sources], compiler_directives=directives, nthreads=processes)


# The first ones in this process: what Cython loads for itself, a second's work, is there then in those forked from it.
translated_here = translated(COMPILED_PYTHON, options, 0)

setup(
    options={"build_ext": {"parallel": jobs}},
    cmdclass={"build_ext": Announced},
    ext_modules=[
        *translated(CYTHON, options | unchecked, jobs),
        *translated_here,
        *translated(COMPILED_AS_IT_IS, options | {"annotation_typing": False}, jobs),
    ],
)
