"""Reads the Prometheus text format strictly, with their own parser on top: what a collector would make of it."""

from __future__ import annotations

import re

from prometheus_client.parser import text_string_to_metric_families

NAME = re.compile(r"clasp_edge_[a-z0-9_]+")
HELP = re.compile(r"# HELP (\S+) (\S.*\.)")
TYPE = re.compile(r"# TYPE (\S+) (counter|gauge)")
SAMPLE = re.compile(r'([a-z0-9_]+)(?:\{((?:[a-z]+="(?:[^"\\\n]|\\[\\"n])*",?)*)\})? (-?[0-9.]+(?:e[+-]?\d+)?)')

UNITS = ("seconds", "bytes", "celsius", "ratio")
BAD_UNITS = re.compile(r"_(ms|us|kib|mib|kb|mb|minutes|hours|milliseconds)(_|$)")

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def read_metrics(text: str) -> Samples:
    """Every sample by its name and labels. Asserts that the text is laid out as the format and its conventions ask:
    HELP and TYPE once and in front of their samples, each sample once, counters end in _total, base units."""
    assert text.endswith("\n")
    assert "\r" not in text
    current, kind, seen, samples = "", "", set(), set()
    lines = iter(text[:-1].split("\n"))
    for line in lines:
        if line.startswith("# HELP"):
            help_ = HELP.fullmatch(line)
            assert help_, line
            type_ = TYPE.fullmatch(next(lines))
            assert type_, f"no TYPE after {line}"
            assert type_[1] == help_[1], line
            current, kind = help_[1], type_[2]
            assert NAME.fullmatch(current), line
            assert current not in seen, f"{current} is there twice"
            assert (kind == "counter") == current.endswith("_total"), line
            assert not BAD_UNITS.search(current), line
            seen.add(current)
            continue
        sample = SAMPLE.fullmatch(line)
        assert sample, line
        assert sample[1] == current, f"{line} under {current}"
        assert (sample[1], sample[2]) not in samples, f"twice: {line}"
        samples.add((sample[1], sample[2]))
        assert kind != "counter" or float(sample[3]) >= 0, line
    found: Samples = {}
    for family in text_string_to_metric_families(text):
        for one in family.samples:
            found[one.name, frozenset(one.labels.items())] = one.value
    assert len(found) == len(samples)
    return found


def value(found: Samples, name: str, /, **labels: str) -> float:
    """One of them."""
    return found[f"clasp_edge_{name}", frozenset(labels.items())]
