"""The compiled part of the build: every .pyx, and the plain Python modules that are compiled for speed.

Everything declarative is in pyproject.toml.
"""

import os
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup

# Plain Python with a .pxd beside it: readable and type-checked as Python, compiled because the data plane calls it.
COMPILED_PYTHON = ["clasp_edge/wire/pattern.py"]

CYTHON = sorted(str(path) for path in Path("clasp_edge").rglob("*.pyx"))

flags = ["-O2", "-fno-plt", "-fvisibility=hidden", "-Wno-unreachable-code"]
link_flags = []
if os.environ.get("SANITIZE"):  # .ci/sanitized, in a copy of the tree: every access is checked
    link_flags = ["-fsanitize=address,undefined", "-fno-sanitize-recover=undefined"]
    flags = ["-O1", "-g1", "-fno-omit-frame-pointer", "-Wno-unreachable-code", *link_flags]
# The module that takes messages apart: there deeper inlining is worth its compile time.
HOT = {"clasp_edge.dataplane.clasp_receiver"}


def extension(source: str) -> Extension:
    """The module that a .pyx or .py file is compiled into."""
    name = os.path.splitext(source)[0].replace("/", ".")
    level = ["-O3"] if name in HOT and not os.environ.get("SANITIZE") else []
    return Extension(name, [source], extra_compile_args=[*flags, *level], extra_link_args=link_flags)


options = {"language_level": 3, "embedsignature": True}
# Only code written with raw memory in mind goes without Python's index checks.
unchecked = {"boundscheck": False, "wraparound": False, "cdivision": True, "initializedcheck": False}
jobs = os.cpu_count() or 1

setup(
    options={"build_ext": {"parallel": jobs}},
    ext_modules=[
        *cythonize([extension(source) for source in CYTHON], compiler_directives=options | unchecked, nthreads=jobs),
        *cythonize([extension(source) for source in COMPILED_PYTHON], compiler_directives=options),
    ],
)
