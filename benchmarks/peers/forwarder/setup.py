"""Builds the blind forwarder's compiled half: `python setup.py build_ext --build-lib DIR --build-temp DIR`."""

from __future__ import annotations

from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup

HERE = Path(__file__).parent

setup(
    name="clasp-forwarder-peer",
    version="0",
    ext_modules=cythonize(
        [Extension("forwarder_core", [str(HERE / "forwarder_core.pyx")], extra_compile_args=["-O2"])],
        build_dir="build",
    ),
)
