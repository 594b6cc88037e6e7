"""What types and ranges cannot say about a configuration: patterns, scopes, and keys that must agree.

Runs on parts that are already well typed. Secrets never appear in a sentence.
"""

from __future__ import annotations

from collections.abc import Iterator

from clasp_edge.config.model import Config, Journal, Limits, Section, Security, Strategy, Token

# wire.md 4: what an address may be, a pattern may be.
MAX_PATTERN_BYTES = 1024
MAX_PATTERN_SEGMENTS = 64

# security.md 3: the actions and their short forms, in any case.
ACTIONS = frozenset({"read", "r", "write", "w", "admin", "a", "*"})


def disagreements(part: Section) -> Iterator[tuple[str, str]]:
    """(key relative to `part`, sentence) for each thing in `part` that cannot be meant."""
    match part:
        case Strategy():
            if reason := pattern_fault(part.pattern):
                yield "pattern", reason
        case Token():
            for index, scope in enumerate(part.scopes):
                if reason := scope_fault(scope):
                    yield f"scopes[{index}]", reason
        case Journal():
            for index, pattern in enumerate(part.patterns):
                if reason := pattern_fault(pattern):
                    yield f"patterns[{index}]", reason
        case Limits():
            yield from _limits(part)
        case Security():
            yield from _security(part)
        case Config():
            yield from _listeners(part)


def pattern_fault(pattern: str) -> str | None:
    """Why `pattern` is not an address pattern (wire.md 4), or None."""
    if not pattern.startswith("/"):
        return f'an address pattern starts with "/": "{pattern}"'
    segments = pattern[1:].split("/")
    if "" in segments[:-1]:
        return f'an address pattern has no empty segment: "{pattern}"'
    if len(segments) > MAX_PATTERN_SEGMENTS or len(pattern.encode()) > MAX_PATTERN_BYTES:
        return f"an address pattern has at most {MAX_PATTERN_SEGMENTS} segments and {MAX_PATTERN_BYTES} bytes"
    return None


def scope_fault(scope: str) -> str | None:
    """Why `scope` is not `action:pattern` (security.md 3), or None."""
    action, colon, pattern = scope.partition(":")
    if not colon:
        return f'a scope is "action:pattern", for example "read:/**": "{scope}"'
    if action.lower() not in ACTIONS:
        return f'the action of a scope is read, write or admin, not "{action}"'
    return pattern_fault(pattern)


def _limits(limits: Limits) -> Iterator[tuple[str, str]]:
    arena_kib = limits.arena_mib * 1024
    for key in ("outbox_kib", "event_backlog_kib"):
        if (value := getattr(limits, key)) > arena_kib:
            yield key, f"{value} KiB for one session is more than the whole arena (arena_mib = {limits.arena_mib})"


def _security(security: Security) -> Iterator[tuple[str, str]]:
    if security.mode == "authenticated" and not security.token:
        yield "mode", '"authenticated" without any [[security.token]] would let nobody in'
    first: dict[str, int] = {}
    for index, token in enumerate(security.token):
        if (earlier := first.setdefault(token.token, index)) != index:
            yield f"token[{index}].token", f"the same token as security.token[{earlier}]"


def _listeners(config: Config) -> Iterator[tuple[str, str]]:
    taken: dict[object, str] = {}
    for key, listen in (("websocket.listen", config.websocket.listen), ("tcp.listen", config.tcp.listen)):
        if listen is not None and listen.port and (earlier := taken.setdefault(listen, key)) != key:
            yield key, f"{listen} is already taken by {earlier}"
    if config.websocket.listen is None and config.tcp.listen is None:
        yield "websocket.listen", "every listener is off: nobody could connect"
