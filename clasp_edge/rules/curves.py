"""Easing curves by name: t in 0..1 to a share of the way (docs/protocol/discovery.md has the formulas).

`bezier` is CSS's cubic-bezier(x1, y1, x2, y2); its x is found by a few Newton steps.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

Curve = Callable[[float], float]

_BEZIER_STEPS = 8
_BEZIER_TOLERANCE = 1e-6


def _in_out(ease_in: Curve) -> Curve:
    """The curve that begins like `ease_in` and ends like its mirror image."""
    return lambda t: ease_in(2 * t) / 2 if t < 0.5 else 1 - ease_in(2 - 2 * t) / 2


def _out(ease_in: Curve) -> Curve:
    return lambda t: 1 - ease_in(1 - t)


def _quad(t: float) -> float:
    return t * t


def _cubic(t: float) -> float:
    return t * t * t


def _expo(t: float) -> float:
    return 0.0 if t <= 0 else math.pow(2.0, 10 * t - 10)


def _sine(t: float) -> float:
    return 1 - math.cos(t * math.pi / 2)


def _circ(t: float) -> float:
    return 1 - math.sqrt(max(0.0, 1 - t * t))


def _elastic_in(t: float) -> float:
    if t <= 0 or t >= 1:
        return 0.0 if t <= 0 else 1.0
    return -math.pow(2.0, 10 * t - 10) * math.sin((10 * t - 10.75) * 2 * math.pi / 3)


def _elastic_out(t: float) -> float:
    if t <= 0 or t >= 1:
        return 0.0 if t <= 0 else 1.0
    return math.pow(2.0, -10 * t) * math.sin((10 * t - 0.75) * 2 * math.pi / 3) + 1


def _bounce_out(t: float) -> float:
    n = 7.5625
    for begins, offset in ((1 / 2.75, 0.0), (2 / 2.75, 0.75), (2.5 / 2.75, 0.9375)):
        if t < begins:
            t -= {0.0: 0.0, 0.75: 1.5, 0.9375: 2.25}[offset] / 2.75
            return n * t * t + offset
    t -= 2.625 / 2.75
    return n * t * t + 0.984375


CURVES: Final[dict[str, Curve]] = {
    "linear": lambda t: t,
    "ease_in": _quad,
    "ease_out": _out(_quad),
    "ease_in_out": _in_out(_quad),
    "quad_in": _quad,
    "quad_out": _out(_quad),
    "quad_in_out": _in_out(_quad),
    "cubic_in": _cubic,
    "cubic_out": _out(_cubic),
    "cubic_in_out": _in_out(_cubic),
    "expo_in": _expo,
    "expo_out": _out(_expo),
    "expo_in_out": _in_out(_expo),
    "sine_in": _sine,
    "sine_out": lambda t: math.sin(t * math.pi / 2),
    "sine_in_out": lambda t: -(math.cos(math.pi * t) - 1) / 2,
    "circ_in": _circ,
    "circ_out": _out(_circ),
    "circ_in_out": _in_out(_circ),
    "elastic_in": _elastic_in,
    "elastic_out": _elastic_out,
    "bounce_out": _bounce_out,
}


def bezier(x1: float, y1: float, x2: float, y2: float) -> Curve:
    """The curve through (0, 0) and (1, 1) with these two control points; x1 and x2 within 0..1."""

    def at(t: float, first: float, second: float) -> float:
        return 3 * (1 - t) ** 2 * t * first + 3 * (1 - t) * t * t * second + t**3

    def slope(t: float) -> float:
        return 3 * (1 - t) ** 2 * x1 + 6 * (1 - t) * t * (x2 - x1) + 3 * t * t * (1 - x2)

    def curve(x: float) -> float:
        t = x
        for _ in range(_BEZIER_STEPS):
            off = at(t, x1, x2) - x
            steep = slope(t)
            if abs(off) < _BEZIER_TOLERANCE or abs(steep) < _BEZIER_TOLERANCE:
                break
            t = min(1.0, max(0.0, t - off / steep))
        return at(t, y1, y2)

    return curve
