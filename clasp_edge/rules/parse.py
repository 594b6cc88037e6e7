"""From `[[rule]]` and `[[map]]` tables to rules, with every problem found (docs/rules.md is the manual).

Knows the format and nothing of files: where a key stands is the caller's business.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from clasp_edge.rules.actions import Actions
from clasp_edge.rules.conditions import Compiler, days, time_of_day
from clasp_edge.rules.model import Action, Condition, Event, Lookup, Rule, Source, Trigger
from clasp_edge.rules.patterns import literal_at, pattern_at, target_at
from clasp_edge.rules.table import Report, Table
from clasp_edge.rules.templates import Captures
from clasp_edge.rules.transforms import compile_transform
from clasp_edge.rules.values import MISSING, equal, number
from clasp_edge.wire.pattern import Pattern

MAX_RULES = 10_000
MAX_TRIGGERS = 16
MAX_SCENE = 10_000
"""Params in a scene."""

LONGEST_S = 7 * 86_400
SHORTEST_INTERVAL_S = 0.1

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:-]{0,127}")

TRIGGERS = (
    "change", "set", "threshold", "event", "stream", "gesture", "silence", "interval", "time", "session", "link",
    "start",
)  # fmt: skip

LINKS = {
    "uplink": "/clasp-edge/uplinks/{}/state",
    "peer": "/clasp-edge/peers/{}/state",
    "bridge": "/clasp-edge/bridges/{}/state",
}


def read_rules(tables: Sequence[Any], maps: Sequence[Any], scenes: Mapping[str, Any], report: Report) -> list[Rule]:
    """The rules of a configuration, maps among them, in their order. What cannot be used is reported and left out."""
    for name, scene in scenes.items():
        _check_scene(Table(scene, f"scene.{name}", report))
    names = frozenset(scenes)
    rules: list[Rule] = []
    seen: dict[str, str] = {}
    if len(tables) + len(maps) > MAX_RULES:
        report("rule", f"there are {len(tables) + len(maps)} rules; a router takes {MAX_RULES}")
        return []
    for index, raw in enumerate(tables):
        _add(rules, seen, read_rule(raw, f"rule[{index}]", names, report), report)
    for index, raw in enumerate(maps):
        for rule in read_map(raw, index, f"map[{index}]", report):
            _add(rules, seen, rule, report)
    targets = {rule.id for rule in rules}
    for rule in rules:
        for action in rule.actions:
            if action.kind in ("cancel", "enable", "disable") and action.target not in targets:
                report(rule.origin, f'{action.kind} = "{action.target}": there is no rule of that id')
    return rules


def _check_scene(part: Table) -> None:
    if len(part.raw) > MAX_SCENE:
        part.wrong("", f"has {len(part.raw)} params; a scene has at most {MAX_SCENE}")
    for address, value in part.raw.items():
        target_at(part, address, address, 0)
        part.check_constant(address, value)


def _add(rules: list[Rule], seen: dict[str, str], rule: Rule | None, report: Report) -> None:
    if rule is None:
        return
    if rule.id in seen:
        report(f"{rule.origin}.id", f'"{rule.id}" is already the id of {seen[rule.id]}')
        return
    seen[rule.id] = rule.origin
    rules.append(rule)


def read_rule(raw: Any, path: str, scenes: frozenset[str], report: Report) -> Rule | None:
    """One rule, or None after reporting why not."""
    if type(raw) is not dict and not isinstance(raw, Mapping):
        report(path, "must be a table")
        return None
    part = Table(raw, path, report)
    rule_id = part.text("id", longest=128) or ""
    if rule_id and not _ID.fullmatch(rule_id):
        part.wrong("id", "must be letters, digits and _ . : - and begin with a letter or digit")
    triggers = tuple([_trigger(row) for row in part.tables("trigger")])
    if not triggers and "trigger" in raw and part.sound:
        part.wrong("trigger", "must be at least one table")
    if len(triggers) > MAX_TRIGGERS:
        part.wrong("trigger", f"has more than {MAX_TRIGGERS} tables")
    captures, deep = _captured(triggers)
    compiler = Compiler(captures, deep)
    conditions = tuple([compiler.compile(row) for row in part.tables("when", ())]) if part.has("when") else ()
    reader = Actions(captures, scenes)
    actions = tuple([reader.read(row) for row in part.tables("do")])
    if not actions and part.sound:
        part.wrong("do", "must be at least one action")
    rule = Rule(
        id=rule_id,
        raw=raw,
        origin=path,
        triggers=triggers,
        actions=actions,
        conditions=conditions,
        watched=tuple(compiler.watched),
        tracked=tuple(compiler.tracked),
        aged=tuple(compiler.aged),
        name=rule_id,
    )
    if part.among(_MORE_KEYS):
        _read_more(rule, part)
    return rule if part.finish() else None


def _captured(triggers: Sequence[Trigger]) -> tuple[int, set[int]]:
    """How many captures all triggers have in common, and which of them may be several segments."""
    count = None
    deep: set[int] = set()
    for trigger in triggers:
        captures = trigger.captures
        here = captures.count if captures is not None else 0
        count = here if count is None or here < count else count
        if captures is not None and captures.deep:
            deep.update(captures.deep)
    return count or 0, deep


_MORE = (
    "name", "enabled", "mode", "for_s", "settle_ms", "throttle_ms", "cooldown_s", "cooldown_per", "run", "scopes",
    "max_per_second", "handshake",
)  # fmt: skip
_MORE_KEYS = dict.fromkeys(_MORE).keys()


def _read_more(rule: Rule, part: Table) -> None:
    """What a rule says beside trigger, conditions and actions. Most of many say nothing."""
    rule.name = part.text("name", "", empty=True) or rule.id
    rule.enabled = part.flag("enabled", True)
    rule.act = part.choice("mode", ("act", "watch"), "act") == "act"
    rule.for_s = float(part.number("for_s", 0.0, low=0, high=LONGEST_S))
    rule.settle_s = part.number("settle_ms", 0.0, low=0, high=LONGEST_S * 1000) / 1000
    rule.throttle_s = part.number("throttle_ms", 0.0, low=0, high=LONGEST_S * 1000) / 1000
    rule.cooldown_s = float(part.number("cooldown_s", 0.0, low=0, high=LONGEST_S))
    rule.cooldown_all = part.choice("cooldown_per", ("rule", "address"), "address") == "rule"
    rule.run = part.choice("run", ("restart", "single", "queue", "parallel"), "restart")
    rule.scopes = part.texts("scopes", ())
    rule.handshake = part.flag("handshake", False)
    rule.max_per_second = float(part.number("max_per_second", 1000, low=1, high=1_000_000))


def _pattern(part: Table, key: str) -> tuple[Pattern | None, Captures | None]:
    text = part.text(key)
    return pattern_at(part, key, text) if text else (None, None)


def _values(part: Table, key: str) -> tuple[Any, ...]:
    given = part.value(key, MISSING)
    if given is MISSING:
        return ()
    values = tuple(given) if isinstance(given, list) else (given,)
    for one in values:
        part.check_constant(key, one)
    return values


def _trigger(part: Table) -> Trigger:
    kind = part.choice("type", TRIGGERS)
    trigger = _TRIGGERS[kind](part) if part.sound else Trigger("start")
    if part.sound:
        part.finish()
    return trigger


def _addressed(part: Table) -> tuple[Pattern | None, Captures | None]:
    return _pattern(part, "address" if part.has("address") else "pattern")


def _change(part: Table) -> Trigger:
    pattern, captures = _addressed(part)
    return Trigger("change", pattern, captures, to=_values(part, "to"), from_=_values(part, "from"))


def _of_signal(kind: Any) -> Any:
    def read(part: Table) -> Trigger:
        return Trigger(kind, *_addressed(part))

    return read


def _threshold(part: Table) -> Trigger:
    pattern, captures = _addressed(part)
    above, below = _bound(part, "above"), _bound(part, "below")
    if above is None and below is None:
        part.wrong("", "a threshold needs above, below or both")
    rearm_below, rearm_above = part.number("rearm_below", None), part.number("rearm_above", None)
    if isinstance(above, int | float) and rearm_below is not None and rearm_below > above:
        part.wrong("rearm_below", "must not be greater than above")
    if isinstance(below, int | float) and rearm_above is not None and rearm_above < below:
        part.wrong("rearm_above", "must not be less than below")
    return Trigger(
        "threshold",
        pattern,
        captures,
        above=above,
        below=below,
        rearm_below=rearm_below,
        rearm_above=rearm_above,
        level=part.flag("level", False),
        at_start=part.flag("at_start", False),
    )


def _bound(part: Table, key: str) -> float | str | None:
    value = part.value(key, None)
    if isinstance(value, str):
        if not value.startswith("/"):
            part.wrong(key, 'must be a number or the address of a param that holds one, such as "/settings/limit"')
            return None
        return value if literal_at(part, key, value) is not None else None
    return part.number(key, None)  # type: ignore[no-any-return]


def _silence(part: Table) -> Trigger:
    pattern, captures = _addressed(part)
    return Trigger("silence", pattern, captures, every_s=float(part.number("after_s", low=0.1, high=LONGEST_S)))


def _interval(part: Table) -> Trigger:
    every_s = part.number("every_s", low=SHORTEST_INTERVAL_S, high=LONGEST_S)
    return Trigger("interval", every_s=float(every_s), at_start=part.flag("at_start", False))


def _time(part: Table) -> Trigger:
    times = tuple(sorted({time_of_day(part, "at", one) for one in part.texts("at")}))
    catch_up_s = part.number("catch_up_s", 0.0, low=0, high=86_400)
    return Trigger("time", at_s=times, days=days(part, "days"), catch_up_s=float(catch_up_s))


def _session(part: Table) -> Trigger:
    joins = part.choice("event", ("join", "leave")) == "join"
    return Trigger("session", joins=joins, name=part.text("name", "*", longest=128))


def _link(part: Table) -> Trigger:
    kind = part.choice("kind", tuple(LINKS), "uplink")
    name = part.text("name", "*", longest=128)
    if "/" in name:
        part.wrong("name", 'is the name of a link, or "*", and has no "/"')
        return Trigger("change")
    pattern, captures = pattern_at(part, "name", LINKS[kind].format(name))
    return Trigger("change", pattern, captures, to=_values(part, "to"))


def _start(part: Table) -> Trigger:
    return Trigger("start")


_TRIGGERS: dict[str, Any] = {
    "change": _change,
    "set": _of_signal("set"),
    "threshold": _threshold,
    "event": _of_signal("event"),
    "stream": _of_signal("stream"),
    "gesture": _of_signal("gesture"),
    "silence": _silence,
    "interval": _interval,
    "time": _time,
    "session": _session,
    "link": _link,
    "start": _start,
}


# ---- [[map]]: one way or both, in a few lines ----


def read_map(raw: Any, index: int, path: str, report: Report) -> list[Rule]:
    """The rule of a map, or the two of one that goes both ways; none after reporting why not."""
    if not isinstance(raw, Mapping):
        report(path, "must be a table")
        return []
    part = Table(raw, path, report)
    rule_id = part.text("id", f"map-{index + 1}", longest=120)
    if not _ID.fullmatch(rule_id):
        part.wrong("id", "must be letters, digits and _ . : - and begin with a letter or digit")
    source, target = part.text("from") or "", part.text("to") or ""
    both = part.flag("both", False)
    enabled = part.flag("enabled", True)
    kind = part.choice("signal", ("param", "event"), "param")
    scale = part.numbers("scale", 4) if part.has("scale") else None
    clamp = part.flag("clamp", False)
    if clamp and scale is None:
        part.wrong("clamp", "goes with scale")
    there = back = None
    if scale is not None:
        if scale[0] == scale[1] or (both and scale[2] == scale[3]):
            part.wrong("scale", "must be [from low, from high, to low, to high], with each low and high apart")
        else:
            there, back = _scaling(part, scale, clamp=clamp), _scaling(part, (*scale[2:], *scale[:2]), clamp=clamp)
    if part.has("transform"):
        if scale is not None or both:
            part.wrong("transform", "goes one way, and in place of scale")
        there = compile_transform(raw["transform"], part, "transform")
    ways = [(rule_id, source, target, there)] + ([(f"{rule_id}:back", target, source, back)] if both else [])
    rules = [
        _map_rule(part, path, raw, (name, other), begins, ends, transform, kind, enabled=enabled)
        for (name, begins, ends, transform), other in zip(ways, reversed([way[0] for way in ways]), strict=True)
    ]
    return [rule for rule in rules if rule is not None] if part.finish() else []


def _scaling(part: Table, scale: tuple[float, ...], *, clamp: bool) -> Any:
    names = ("from_min", "from_max", "to_min", "to_max")
    table = {"type": "scale", "clamp": clamp, **dict(zip(names, scale, strict=True))}
    return compile_transform(table, part, "scale")


def _map_rule(
    part: Table,
    path: str,
    raw: Any,
    names: tuple[str, str],
    source: str,
    target: str,
    transform: Any,
    signal: str,
    *,
    enabled: bool,
) -> Rule | None:
    rule_id, other = names
    key = "from" if source == part.raw.get("from") else "to"
    pattern, captures = pattern_at(part, key, source)
    if pattern is None or captures is None:
        return None
    if Captures(target).count != captures.count:
        part.wrong("to", f'must have as many wildcards as "{source}"')
        return None
    places = iter(range(1, captures.count + 1))
    address = re.sub(r"\*\*|\*", lambda _: f"{{{next(places)}}}", target)
    template = target_at(part, "to" if key == "from" else "from", address, captures.count)
    kind = "set" if signal == "param" else "event"
    verb = "set" if signal == "param" else "publish"
    action = Action(verb, template, Source("trigger", transform=transform), "event", number=1)
    return Rule(
        id=rule_id,
        raw=(raw, rule_id),
        origin=path,
        triggers=(Trigger(kind, pattern, captures),),  # type: ignore[arg-type]
        actions=(action,),
        # What is there already is not written again: this is where a map and its way back come to rest.
        conditions=(_differs(action),) if signal == "param" else (_not_by(other),),
        name=f"{source} -> {target}",
        enabled=enabled,
        run="parallel",
        max_per_second=100_000,
    )


def _differs(action: Action) -> Condition:
    """A map writes only what would change something, and never back what it was told by its other half."""

    def differs(event: Event, lookup: Lookup) -> str | None:
        source, template = action.source, action.address
        assert source is not None
        assert template is not None
        value = event.value if source.transform is None else source.transform(event.value, {})
        address = template.fill(event.captures, event.names())
        there = lookup.value(address)
        if equal(there, value) or _near(there, value):
            return f"{address} has that value"
        return None

    return differs


def _not_by(other: str) -> Condition:
    """An event has no value that stands: what the other half has published is not sent back."""
    return lambda event, lookup: f"published by {other}" if event.by == other else None


def _near(left: Any, right: Any) -> bool:
    """Equal but for the rounding of a scale and its way back."""
    first, second = number(left), number(right)
    return first is not None and second is not None and abs(first - second) <= 1e-9 * max(1.0, abs(first), abs(second))
