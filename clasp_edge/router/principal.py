"""Who somebody is where what the router keeps, and whom it admits, is shared fairly: a token's subject, else a host.

An IPv6 host has a whole network of addresses (RFC 6177), so it goes by its first 64 bits. Also says, now and then, who
was refused memory. Knows no protocol.
"""

from __future__ import annotations

import logging
from ipaddress import IPv6Address
from typing import TYPE_CHECKING

from clasp_edge.dataplane.account import Account, Accounts
from clasp_edge.wire.pattern import Pattern

if TYPE_CHECKING:
    from clasp_edge.clock import Clock
    from clasp_edge.router.access import Identity

log = logging.getLogger("clasp_edge.router")

NOTICE_PERIOD_S = 60.0
MAX_NOTICED = 256
"""A principal that is refused memory is logged once in this time, and so many are remembered."""

MAX_AUTHOR_BYTES = 64

_EVERYTHING = Pattern(b"/**")

_IPV6_HOST_BITS = 64


def host_of(remote: str) -> str:
    """The host in `host:port`; "" for what has none, such as a socket of this machine's file system."""
    return remote.rpartition(":")[0]


def principal_of(host: str, identity: Identity | None = None) -> str:
    """The name of the account: `token SUBJECT` (of one without a subject, its fingerprint), else `host ADDRESS`."""
    if identity is not None:
        return f"token {identity.subject or identity.fingerprint}"
    bare = host.strip("[]").partition("%")[0]
    if ":" not in bare:
        return f"host {bare or 'local'}"
    try:
        address = IPv6Address(bare)
    except ValueError:
        return f"host {bare}"
    if address.ipv4_mapped is not None:
        return f"host {address.ipv4_mapped}"
    if address.is_link_local:
        return f"host {address}"  # all of these share one prefix
    return f"host {IPv6Address(int(address) >> _IPV6_HOST_BITS << _IPV6_HOST_BITS)}/{_IPV6_HOST_BITS}"


def author_of(identity: Identity | None, client: str = "") -> bytes | None:
    """Whom the log names as the author of a record: the token's subject, of devices with their name behind it. None
    without a token. A ":" would make it look like a part of the router."""
    if identity is None or not identity.subject:
        return None
    text = f"{identity.subject}/{client}" if client else identity.subject
    return text.replace(":", ".").encode()[:MAX_AUTHOR_BYTES].decode(errors="ignore").encode()


def may_administrate(identity: Identity | None) -> bool:
    """Whether the token is one of those who look after the router (`admin:/**`)."""
    return identity is not None and identity.scopes.covers("admin", _EVERYTHING)


class RefusalLog:
    """Called when a principal is refused memory: says so once a minute for each."""

    def __init__(self, accounts: Accounts, clock: Clock) -> None:
        self._clock = clock
        self._told: dict[str, float] = {}
        accounts.on_refused = self

    def __call__(self, account: Account) -> None:
        now_s = self._clock.monotonic_s()
        if now_s - self._told.get(account.principal, -NOTICE_PERIOD_S) < NOTICE_PERIOD_S:
            return
        self._told.pop(account.principal, None)
        if len(self._told) >= MAX_NOTICED:
            del self._told[next(iter(self._told))]
        self._told[account.principal] = now_s
        log.warning(
            "%r: refused memory, it holds %d KiB of %d KiB in use (limits.memory_mib = %d, %d refusals)",
            account.principal, account.used >> 10, account.accounts.used >> 10, account.accounts.total >> 20,
            account.refusals,
        )  # fmt: skip
