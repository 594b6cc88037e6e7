"""OSC address patterns: which of the addresses that exist a message with wildcards is meant for.

In a part between slashes `?` is one character, `*` any number of them, `[abc]`, `[a-f]` and `[!a]` one of a set, and
`{one,two}` one of some words. `//` is any number of parts, as in OSC 1.1. Not to be confused with the patterns of
CLASP subscriptions (wire.pattern)."""

from __future__ import annotations

from clasp_edge.wire.pattern import Pattern

_ONE = 0
_MANY = 1
_SET = 2
_WORDS = 3
_BYTE = 4

_Token = tuple[int, frozenset[int], tuple[bytes, ...], int]
_NOTHING: frozenset[int] = frozenset()

_ANY = b"//"
"""No part can be this: it stands for any number of them."""


class OscPattern:
    """One pattern. Matching takes time in the product of both lengths, whatever the pattern."""

    def __init__(self, text: bytes) -> None:
        first, *rest = text.split(b"/")
        # An empty part that is not the last one stands between two slashes; several of them say no more than one.
        texts = [first]
        for index, part in enumerate(rest):
            if part or index == len(rest) - 1 or texts[-1] is not _ANY:
                texts.append(part if part or index == len(rest) - 1 else _ANY)
        self._texts = texts
        self._parts = [None if part is _ANY else _tokens(part) for part in texts]

    def superset(self, namespace: bytes) -> Pattern:
        """A CLASP pattern below `namespace` that finds at least all addresses this one matches."""
        loose = [b"**" if part is _ANY else b"*" if _is_wild(part) else part for part in self._texts[1:]]
        return Pattern(namespace + b"/" + b"/".join(loose))

    def matches(self, address: bytes) -> bool:
        """Whether the message is for this address (as OSC sees it, without a namespace)."""
        parts = address.split(b"/")
        if _ANY not in self._texts:
            return len(parts) == len(self._parts) and all(map(_match_part, self._parts, parts))
        reached = {0}
        for tokens in self._parts:
            if tokens is None:
                reached = set(range(min(reached), len(parts) + 1))
            else:
                reached = {at + 1 for at in reached if at < len(parts) and _match(tokens, parts[at])}
            if not reached:
                return False
        return len(parts) in reached


def _match_part(tokens: list[_Token] | None, part: bytes) -> bool:
    return tokens is None or _match(tokens, part)


def _is_wild(part: bytes) -> bool:
    return any(character in part for character in b"*?[{")


def _tokens(part: bytes) -> list[_Token]:
    tokens: list[_Token] = []
    at = 0
    while at < len(part):
        byte = part[at]
        at += 1
        if byte == ord("?"):
            tokens.append((_ONE, _NOTHING, (), 0))
        elif byte == ord("*"):
            if not tokens or tokens[-1][0] != _MANY:
                tokens.append((_MANY, _NOTHING, (), 0))
        elif byte == ord("[") and (end := part.find(b"]", at)) >= 0:
            tokens.append((_SET, _set(part[at:end]), (), 0))
            at = end + 1
        elif byte == ord("{") and (end := part.find(b"}", at)) >= 0:
            tokens.append((_WORDS, _NOTHING, tuple(part[at:end].split(b",")), 0))
            at = end + 1
        else:
            # A bracket that is never closed stands for itself.
            tokens.append((_BYTE, _NOTHING, (), byte))
    return tokens


def _set(text: bytes) -> frozenset[int]:
    """The bytes of `[...]`: single ones and ranges, all others with `!` in front. A `-` at the end is itself."""
    negated = text.startswith(b"!")
    if negated:
        text = text[1:]
    found: set[int] = set()
    at = 0
    while at < len(text):
        if at + 2 < len(text) and text[at + 1] == ord("-"):
            found.update(range(min(text[at], text[at + 2]), max(text[at], text[at + 2]) + 1))
            at += 3
        else:
            found.add(text[at])
            at += 1
    return frozenset(range(256)) - found if negated else frozenset(found)


def _match(tokens: list[_Token], text: bytes) -> bool:
    """Follow all ways through the tokens at once: the positions in `text` that are reachable so far."""
    reached = {0}
    for kind, members, words, byte in tokens:
        if kind == _MANY:
            reached = set(range(min(reached), len(text) + 1))
        elif kind == _WORDS:
            reached = {at + len(word) for at in reached for word in words if text.startswith(word, at)}
        elif kind == _ONE:
            reached = {at + 1 for at in reached if at < len(text)}
        elif kind == _SET:
            reached = {at + 1 for at in reached if at < len(text) and text[at] in members}
        else:
            reached = {at + 1 for at in reached if at < len(text) and text[at] == byte}
        if not reached:
            return False
    return len(text) in reached
