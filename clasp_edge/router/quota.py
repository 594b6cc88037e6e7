"""What the bearers of one token may use together: messages and bytes a second, sessions, subscriptions.

A token's sessions share its rate evenly, so that together they never have more. A newcomer has used as much of its
share as the others have of theirs. Principals are those of `places`:
tokens with one subject count as one. Nothing here is asked for a message; a session's rate is set when sessions come
and go.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, cast

from clasp_edge.router.principal import principal_of

if TYPE_CHECKING:
    from clasp_edge.router.access import Identity
    from clasp_edge.router.places import Holder, Places


class _Limited(Protocol):
    """A session with a rate."""

    @property
    def used_s(self) -> float: ...
    def apply_rate(self) -> None: ...


def no_session(places: Places, identity: Identity | None) -> str | None:
    """Why the bearer of the token may not have a further session; None if it may."""
    if identity is None or not identity.quota.sessions:
        return None
    limit = identity.quota.sessions
    if places.count(principal_of("", identity)) < limit:
        return None
    return f"quota of the token reached ({limit} sessions)"


def no_subscription(places: Places, identity: Identity | None) -> str | None:
    """Why the bearer of the token may not have a further subscription; None if it may."""
    if identity is None or not identity.quota.subscriptions:
        return None
    limit = identity.quota.subscriptions
    held = sum(len(getattr(one, "subscriptions", ())) for one in places.holders(principal_of("", identity)))
    return None if held < limit else f"quota of the token, {limit}"


def rate(places: Places, identity: Identity | None, limit: float) -> float:
    """Messages per second for one session of the token's bearers; `limit` is any session's, 0 for none."""
    if identity is None or not identity.quota.messages_per_second:
        return limit
    share = identity.quota.messages_per_second / max(1, places.count(principal_of("", identity)))
    return min(limit, share) if limit else share


def bytes_rate(places: Places, identity: Identity | None) -> float:
    """Bytes per second for one session of the token's bearers; 0 for any."""
    if identity is None or not identity.quota.bytes_per_second:
        return 0.0
    return identity.quota.bytes_per_second / max(1, places.count(principal_of("", identity)))


def used_by_others(places: Places, newcomer: Holder, identity: Identity | None) -> float:
    """What a newcomer has used already of the rate that it shares, in seconds of 0 to 1: as much as the others on
    average, since it gets its share from them."""
    if not _shares_a_rate(identity):
        return 0.0
    used = [min(1.0, one.used_s) for one in _limited(places, identity, newcomer)]
    return sum(used) / len(used) if used else 0.0


def share_anew(places: Places, identity: Identity | None) -> None:
    """A session of the token's bearers has come or gone: the others' rates change with it."""
    if not _shares_a_rate(identity):
        return
    for one in _limited(places, identity):
        one.apply_rate()


def _limited(places: Places, identity: Identity | None, beside: Holder | None = None) -> list[_Limited]:
    # Not `isinstance`, which takes 50 us with a protocol: for a thousand sessions of one token they stall everybody.
    holders = places.holders(principal_of("", identity))
    return [cast("_Limited", one) for one in holders if one is not beside and hasattr(one, "apply_rate")]


def _shares_a_rate(identity: Identity | None) -> bool:
    return identity is not None and bool(identity.quota.messages_per_second or identity.quota.bytes_per_second)
