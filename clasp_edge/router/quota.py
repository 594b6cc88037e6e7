"""What the bearers of one token may use together: messages and bytes a second, sessions, subscriptions.

A token's sessions share its rate evenly, so that together they never have more. Principals are those of `places`:
tokens with one subject count as one. Nothing here is asked for a message; a session's rate is set when sessions come
and go.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from clasp_edge.router.principal import principal_of

if TYPE_CHECKING:
    from clasp_edge.router.access import Identity
    from clasp_edge.router.places import Places


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


def share_anew(places: Places, identity: Identity | None) -> None:
    """A session of the token's bearers has come or gone: the others' rates change with it."""
    if identity is None or not (identity.quota.messages_per_second or identity.quota.bytes_per_second):
        return
    for one in places.holders(principal_of("", identity)):
        apply = getattr(one, "apply_rate", None)
        if apply is not None:
            apply()
