"""Reads the actions of a rule: what is written, published, faded, waited for (docs/rules.md lists them).

Each action is a table with one verb (`set`, `publish`, `fade`, ...). What they do is `firing`'s business.
"""

from __future__ import annotations

from typing import Any

from clasp_edge.rules.curves import CURVES
from clasp_edge.rules.model import Action, Source
from clasp_edge.rules.patterns import literal_at, target_at
from clasp_edge.rules.table import Table, closest
from clasp_edge.rules.templates import NAMES, Template
from clasp_edge.rules.transforms import Transform, compile_transform, curve_at, expression_at
from clasp_edge.rules.values import MISSING

MAX_ACTIONS = 64
LONGEST_DELAY_S = 7 * 86_400
LONGEST_FADE_S = 86_400
_SOURCES = dict.fromkeys(("value", "from", "expression")).keys()
_START_SOURCES = dict.fromkeys(("start", "from", "expression")).keys()
SIGNALS = ("event", "param", "stream", "gesture", "timeline")


class Actions:
    """Reads the actions of one rule. `captures`: wildcards that its triggers have in common; `scenes`: known names."""

    def __init__(self, captures: int, scenes: frozenset[str]) -> None:
        self._captures = captures
        self._scenes = scenes
        self._count = 0

    def read(self, part: Table) -> Action:
        """The action of a table. Problems are reported to it."""
        self._count += 1
        if self._count > MAX_ACTIONS:
            part.wrong("", f"has more than {MAX_ACTIONS} actions")
        verbs = part.among(_READERS.keys())
        if len(verbs) != 1:
            known = ", ".join(_READERS)
            if verbs:
                part.wrong("", f"has {' and '.join(verbs)}; an action has one of them")
            else:
                near = next(iter(part.raw), "")
                part.wrong(
                    "", f"is no action; {closest(str(near), list(_READERS))}" if near else f"needs one of {known}"
                )
            return Action("nothing")
        action: Action = _READERS[verbs[0]](self, part, self._count)
        part.finish()
        return action

    def template(self, part: Table, key: str) -> Template:
        """The address template at a key."""
        return target_at(part, key, part.text(key) or "", self._captures)

    def _made(self, part: Table, key: str, source: str) -> Template:
        try:
            return Template(source, self._captures)
        except ValueError as error:
            part.wrong(key, str(error))
            return Template("", 0)

    def text(self, part: Table, key: str) -> Template:
        """A template for a line of text."""
        return self._made(part, key, part.text(key) or "")

    def source(self, part: Table, default: Source | None = None, *, key: str = "value") -> Source:
        """Where the value comes from: `value`, `from` ("trigger" or an address), or `expression`; then `transform`."""
        given = part.among(_SOURCES if key == "value" else _START_SOURCES)
        transform: Transform | None = None
        if part.has("transform"):
            transform = compile_transform(part.raw["transform"], part, "transform")
        if len(given) > 1:
            part.wrong("", f"has {' and '.join(given)}; a value comes from one of them")
        if not given:
            if default is None:
                part.wrong(key, 'missing; say the value, or from = "trigger", from = "/address", expression = "..."')
                return Source("constant", None, transform=transform)
            return default if transform is None else Source(default.kind, default.constant, transform=transform)
        if given[0] == "expression":
            return Source("expression", expression=expression_at(part, "expression", NAMES), transform=transform)
        if given[0] == "from":
            where = part.text("from")
            if where == "trigger":
                return Source("trigger", transform=transform)
            return Source("param", address=self.template(part, "from"), transform=transform)
        value = part.value(key)
        if isinstance(value, str) and "{" in value and (made := self._text_value(value)) is not None:
            return Source("template", address=made, transform=transform)
        part.check_constant(key, value)
        return Source("constant", value, transform=transform)

    def _text_value(self, value: str) -> Template | None:
        # JSON and other texts with braces are meant as they stand.
        try:
            made = Template(value, self._captures)
        except ValueError:
            return None
        return None if made.fixed else made

    def target(self, part: Table, key: str) -> str:
        """The identifier of a rule."""
        return str(part.text(key, longest=128) or "")


def _set(read: Actions, part: Table, number: int) -> Action:
    return Action("set", read.template(part, "set"), read.source(part, Source("trigger")), number=number)


def _publish(read: Actions, part: Table, number: int) -> Action:
    signal = part.choice("signal", SIGNALS, "event")
    return Action(
        "publish", read.template(part, "publish"), read.source(part, Source("constant", MISSING)), signal, number=number
    )


def _toggle(read: Actions, part: Table, number: int) -> Action:
    return Action("toggle", read.template(part, "toggle"), number=number)


def _increment(read: Actions, part: Table, number: int) -> Action:
    low, high = part.number("min", None), part.number("max", None)
    if low is not None and high is not None and low > high:
        part.wrong("min", "must not be greater than max")
    wrap = part.flag("wrap", False)
    if wrap and (low is None or high is None):
        part.wrong("wrap", "needs min and max")
    return Action(
        "increment",
        read.template(part, "increment"),
        by=part.number("by", 1),
        low=low,
        high=high,
        wrap=wrap,
        number=number,
    )


def _fade(read: Actions, part: Table, number: int) -> Action:
    start = read.source(part, key="start") if part.has("start") else None
    to = read.source(part.inner("", {"value": part.value("to")}) if part.has("to") else part)
    curve = curve_at(part, "curve") if part.has("curve") else CURVES["linear"]
    return Action(
        "fade",
        read.template(part, "fade"),
        to,
        over_s=float(part.number("over_s", low=0, high=LONGEST_FADE_S)),
        rate_hz=float(part.number("rate_hz", 25.0, low=1, high=100)),
        curve=curve,
        start=start,
        number=number,
    )


def _delay(read: Actions, part: Table, number: int) -> Action:
    key = "delay_s" if part.has("delay_s") else "delay_ms"
    value = part.value(key)
    if isinstance(value, str):
        if not value.startswith("/"):
            part.wrong(key, 'must be a number or the address of a param that holds one, such as "/settings/hold"')
        else:
            literal_at(part, key, value)
        return Action("delay", delay_s=value, by=1.0 if key == "delay_s" else 0.001, number=number)
    most = LONGEST_DELAY_S if key == "delay_s" else LONGEST_DELAY_S * 1000
    delay = part.number(key, low=0, high=most)
    return Action("delay", delay_s=delay * (1.0 if key == "delay_s" else 0.001), number=number)


def _named(kind: str) -> Any:
    def read_named(read: Actions, part: Table, number: int) -> Action:
        return Action(kind, target=read.target(part, kind), number=number)

    return read_named


def _scene(read: Actions, part: Table, number: int) -> Action:
    name = part.text("scene", longest=128) or ""
    if name and name not in read._scenes:
        known = sorted(read._scenes)
        part.wrong("scene", f'"{name}" is no scene; {closest(name, known) if known else "there are none"}')
    over_s = part.number("over_s", 0.0, low=0, high=LONGEST_FADE_S)
    return Action("scene", target=name, over_s=float(over_s), curve=CURVES["linear"], number=number)


def _bundle(read: Actions, part: Table, number: int) -> Action:
    members = tuple([read.read(row) for row in part.tables("bundle")])
    if not members and part.sound:
        part.wrong("bundle", "must be at least one action")
    if {member.kind for member in members} - {"set", "publish"}:
        part.wrong("bundle", "may have set and publish in it, nothing else")
    return Action("bundle", members=members, delay_s=float(part.number("in_s", 0.0, low=0, high=3600)), number=number)


def _log(read: Actions, part: Table, number: int) -> Action:
    return Action("log", text=read.text(part, "log"), number=number)


_READERS: dict[str, Any] = {
    "set": _set,
    "publish": _publish,
    "fade": _fade,
    "delay_ms": _delay,
    "delay_s": _delay,
    "toggle": _toggle,
    "increment": _increment,
    "scene": _scene,
    "bundle": _bundle,
    "cancel": _named("cancel"),
    "enable": _named("enable"),
    "disable": _named("disable"),
    "log": _log,
}
