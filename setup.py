"""The compiled part of the build: every .pyx, and the plain Python modules that are compiled for speed.

Everything declarative is in pyproject.toml.
"""

import os
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup

# Plain Python with a .pxd beside it: readable and type-checked as Python, compiled because the data plane calls it.
COMPILED_PYTHON = ["clasp_edge/wire/pattern.py"]

sources = sorted(str(path) for path in Path("clasp_edge").rglob("*.pyx")) + COMPILED_PYTHON

# Line tracing and C assertions cost speed; the sanitiser build of `make fuzz` turns its own flags on by CFLAGS.
flags = ["-O3", "-fno-plt", "-fvisibility=hidden", "-Wno-unreachable-code"]

extensions = [
    Extension(
        os.path.splitext(source)[0].replace("/", "."),
        [source],
        extra_compile_args=flags,
    )
    for source in sources
]

setup(
    ext_modules=cythonize(
        extensions,
        compiler_directives={
            "language_level": 3,
            "boundscheck": False,
            "wraparound": False,
            "cdivision": True,
            "initializedcheck": False,
            "embedsignature": True,
        },
        nthreads=os.cpu_count() or 1,
    )
)
