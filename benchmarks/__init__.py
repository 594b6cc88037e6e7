"""Benchmarks: this daemon beside the reference router and a blind forwarder, measured in turn with one load generator.

`python -m benchmarks --help` tells how to run them; README.md what is measured.
"""
