"""Scopes: `action:pattern`, what the bearer of a token may do where.

Responsible for reading scopes and for answering whether a set of them allows an action. Matches with wire.pattern and
nothing else. Knows nothing of tokens, sessions or messages; which message needs which action is the router's business.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from clasp_edge.wire.pattern import Pattern, PatternError, covers


class Action(StrEnum):
    """What a scope permits, each including those before it: admin is also write, write is also read."""

    READ = "read"
    WRITE = "write"
    ADMIN = "admin"


# security.md 3: the short forms, in any case. `write!` is ours: writing without the reading it otherwise implies, for
# a sensor that has no business to look around (security.md 10.4).
_ACTIONS = {
    "read": Action.READ,
    "r": Action.READ,
    "write": Action.WRITE,
    "w": Action.WRITE,
    "write!": Action.WRITE,
    "w!": Action.WRITE,
    "admin": Action.ADMIN,
    "a": Action.ADMIN,
    "*": Action.ADMIN,
}
_GRANTS = {
    Action.READ: frozenset({Action.READ}),
    Action.WRITE: frozenset({Action.READ, Action.WRITE}),
    Action.ADMIN: frozenset({Action.READ, Action.WRITE, Action.ADMIN}),
}
_WRITE_ONLY_GRANTS = frozenset({Action.WRITE})


class ScopeError(ValueError):
    """A scope that cannot be read. The text says which and why, for the person who wrote it."""


@dataclass(frozen=True, slots=True)
class Scope:
    """One permission. `write_only` takes from a write scope the reading that it otherwise implies."""

    action: Action
    pattern: Pattern
    write_only: bool = False

    def __post_init__(self) -> None:
        if self.write_only and self.action is not Action.WRITE:
            raise ScopeError(f"only a write scope can be write-only, not {self.action}")

    @classmethod
    def parse(cls, text: str) -> Scope:
        """Read `action:pattern`, split at the first colon (security.md 3). Raises ScopeError."""
        action_text, colon, pattern_text = text.strip().partition(":")
        if not colon:
            raise ScopeError(f'scope "{text}": no ":"; a scope is action:pattern, for example read:/lights/**')
        word = action_text.strip().lower()
        action = _ACTIONS.get(word)
        if action is None:
            raise ScopeError(f'scope "{text}": unknown action "{action_text}"; use read, write, write! or admin')
        try:
            pattern = Pattern(pattern_text.strip().encode())
        except (PatternError, UnicodeEncodeError) as error:
            raise ScopeError(f'scope "{text}": {error}') from None
        return cls(action, pattern, word.endswith("!"))

    def grants(self, action: Action) -> bool:
        """Tell whether this scope permits the action at the addresses it is about."""
        return action in (_WRITE_ONLY_GRANTS if self.write_only else _GRANTS[self.action])

    def __str__(self) -> str:
        return f"{self.action}{'!' if self.write_only else ''}:{self.pattern.text.decode()}"


class Scopes:
    """What one identity may do: its scopes joined by "or". No scopes, no permission. Immutable."""

    __slots__ = ("_patterns", "_scopes")

    def __init__(self, scopes: Iterable[Scope] = ()) -> None:
        self._scopes = tuple(dict.fromkeys(scopes))  # without repetitions, in the order given
        self._patterns: dict[str, tuple[Pattern, ...]] = {
            action: tuple(scope.pattern for scope in self._scopes if scope.grants(action)) for action in Action
        }

    @classmethod
    def parse(cls, text: str) -> Scopes:
        """Read a comma separated list; blanks around its entries do not count. An empty text is no scope at all.

        Raises ScopeError. A pattern that contains a comma itself (`/{a,b}*`) cannot stand in such a list.
        """
        return cls(Scope.parse(entry) for entry in text.split(",")) if text.strip() else cls()

    def allows(self, action: str, address: bytes) -> bool:
        """Tell whether an `Action` is permitted at this one valid address. Never ask this with a pattern's text."""
        return any(pattern.matches(address) for pattern in self._patterns[action])

    def covers(self, action: str, pattern: Pattern) -> bool:
        """Tell whether the action is permitted at every address the pattern stands for.

        This is the question of SUBSCRIBE, REPLAY and federation declarations. A single scope has to cover the whole
        pattern. Doubt is answered with no (wire.pattern.covers; security.md 10.3).
        """
        return any(covers(allowed, pattern) for allowed in self._patterns[action])

    def patterns(self, action: Action) -> tuple[Pattern, ...]:
        """Return where the action is permitted, for a gate that checks every message and matches by itself."""
        return self._patterns[action]

    def __iter__(self) -> Iterator[Scope]:
        return iter(self._scopes)

    def __len__(self) -> int:
        return len(self._scopes)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Scopes) and set(self._scopes) == set(other._scopes)

    def __hash__(self) -> int:
        return hash(frozenset(self._scopes))

    def __str__(self) -> str:
        return ", ".join(map(str, self._scopes))

    def __repr__(self) -> str:
        return f"<Scopes {self}>"


def reaches_below(scopes: Scopes, branch: bytes) -> bool:
    """Whether something that is below the address may be read."""
    return any(_may_match_below(pattern, branch) for pattern in scopes.patterns(Action.READ))


def _may_match_below(pattern: Pattern, branch: bytes) -> bool:
    wanted = pattern.segments
    segments = branch[1:].split(b"/")
    for index, segment in enumerate(segments):
        if index >= len(wanted):
            return False
        if wanted[index] == b"**":
            return True
        try:
            if not Pattern(b"/" + wanted[index]).matches(b"/" + segment):
                return False
        except PatternError:
            return False
    return len(wanted) > len(segments)
