"""What the router asks of the security room, as types: the router knows scopes and tokens only through these.

The rooms are ordered so that security builds on the router and not the other way round; the daemon hands the real
objects in.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from clasp_edge.quota import Quota
from clasp_edge.wire import ErrorCode
from clasp_edge.wire.pattern import Pattern


class Access(Protocol):
    """What a session may do (security.Scopes)."""

    def allows(self, action: str, address: bytes) -> bool:
        """Tell whether `action` ("read", "write", "admin") is allowed at `address`."""

    def covers(self, action: str, pattern: Pattern) -> bool:
        """Tell whether `action` is allowed at every address that `pattern` matches."""


class Confinement(Protocol):
    """A limit to where a session writes, whatever its token grants (a federation peer's declared namespaces)."""

    def admits(self, address: bytes) -> bool:
        """Tell whether `address` is inside."""

    def contains(self, pattern: Pattern) -> bool:
        """Tell whether every address that `pattern` matches is inside."""

    def refusal(self, kind: str) -> str:
        """The text of the ERROR 403 for a `kind` ("SET", "PUBLISH") outside."""


class ConfinedAccess:
    """What `granted` allows (None: everything), with writing kept inside a confinement. Reading is not affected."""

    __slots__ = ("_confinement", "_granted")

    def __init__(self, granted: Access | None, confinement: Confinement) -> None:
        self._granted = granted
        self._confinement = confinement

    def allows(self, action: str, address: bytes) -> bool:
        """As `Access.allows`."""
        if self._granted is not None and not self._granted.allows(action, address):
            return False
        return action != "write" or self._confinement.admits(address)

    def covers(self, action: str, pattern: Pattern) -> bool:
        """As `Access.covers`."""
        if self._granted is not None and not self._granted.covers(action, pattern):
            return False
        return action != "write" or self._confinement.contains(pattern)


class Identity(Protocol):
    """Who a valid token stands for (security.Identity)."""

    @property
    def subject(self) -> str: ...

    @property
    def token_id(self) -> str:
        """Names the token in logs; gives nothing of it away."""

    @property
    def quota(self) -> Quota:
        """What the token's bearers may use together."""

    @property
    def administers(self) -> bool:
        """Whether the token has a scope for `admin` anywhere."""

    @property
    def scopes(self) -> Access: ...

    @property
    def fingerprint(self) -> str:
        """Names the token for good, over restarts too, and gives nothing of it away."""


class Refused(Exception):
    """A token that does not open the door: the ERROR to send before closing (router.md 1.4)."""

    def __init__(self, code: ErrorCode, text: str) -> None:
        super().__init__(text)
        self.code = code
        self.text = text


class Authenticator(Protocol):
    """Turns tokens into identities (daemon wiring over security.TokenStore)."""

    def validate(self, token: str, remote: str = "") -> Identity:
        """Raise `Refused` when the token is missing, unknown or expired, or when too many from `remote` (`host:port`)
        have been."""

    def revalidate(self, identity: Identity) -> Identity:
        """The identity as it stands now. Raise `Refused` when it has been revoked or has expired."""

    def recognise(self, fingerprint: str, client: str = "") -> Identity:
        """Whose token has this fingerprint, as this client. Raise `Refused` when there is none, or it has expired."""

    def takes_password(self, name: str, password: bytes) -> bool:
        """Whether a user name and password are to be checked by `check_password`, and are not a token."""

    def check_password(
        self, name: str, password: bytes, client: str, remote: str, then: Callable[[Identity | Refused], None]
    ) -> None:
        """Have it checked beside the event loop; `then` is called on its thread with who it is, or why not."""

    def of_certificate(self, remote: str) -> Identity | None:
        """Whom the client there stands for by the certificate that it has shown; None for nobody."""

    def of_network(self, protocol: str, host: str) -> Identity | None:
        """Whom a device stands for that says nothing about itself, by where it is; None for nobody."""


class Trail:
    """Where what concerns security is written down (security.Trail); this one writes nothing."""

    keep: Callable[[bytes], None] | None = None
    """Stores an entry, if anything does."""

    def note(
        self,
        event: str,
        identity: Identity | None = None,
        *,
        remote: str = "",
        client: str = "",
        target: str = "",
        reason: str = "",
        count: int = 1,
    ) -> None:
        """`event` in a word or two; `remote` as `host:port`; `client` is the name that a client gives itself; `target`
        the address or what else it is about; `count` of such events, this one included."""
