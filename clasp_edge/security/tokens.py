"""Static tokens: the secrets a configuration lists, and the identities they stand for.

Responsible for recognising a token and for saying why one is refused, in the codes and texts of router.md 1.4. Knows
no session, no file and no clock: the caller passes the time, and a changed list makes a new store.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from hmac import compare_digest

from clasp_edge.security.scope import Action, Scope, ScopeError, Scopes
from clasp_edge.security.token_file import KeptToken
from clasp_edge.wire.enums import ErrorCode


class Unauthorized(Exception):
    """The token admits nobody. `code` and `text` are those of the ERROR for the peer."""

    def __init__(self, code: ErrorCode, text: str) -> None:
        super().__init__(f"{int(code)} {text}")
        self.code = code
        self.text = text


@dataclass(frozen=True, slots=True)
class StaticToken:
    """One entry of the configuration. `expires` is in seconds since the Unix epoch, None for never."""

    token: str = field(repr=False)
    subject: str
    scopes: Sequence[str]
    expires: float | None = None


@dataclass(frozen=True, slots=True)
class Identity:
    """Whom a session acts for.

    `token_id` names the token in logs by its place in the configuration (`token[0]`), which gives nothing of it away.
    `expires` is in seconds since the Unix epoch, None for never.
    """

    subject: str
    scopes: Scopes
    token_id: str
    expires: float | None
    digest: bytes = field(repr=False)
    client: str = ""
    """The client that the scopes were made for, where they name it (`%c`)."""

    @property
    def administers(self) -> bool:
        """Whether it has a scope for `admin` anywhere."""
        return bool(self.scopes.patterns(Action.ADMIN))

    @property
    def fingerprint(self) -> str:
        """Names the token for good; the digest cannot be told from it."""
        return sha256(b"clasp-edge owner:" + self.digest).hexdigest()

    def expired(self, now_s: float) -> bool:
        """Tell whether the time is past `expires`; that second itself is still good (security.md 4)."""
        return self.expires is not None and now_s > self.expires


class TokenStore:
    """The static tokens of one configuration. Keeps digests, not the tokens."""

    def __init__(self, tokens: Iterable[StaticToken] = (), kept: Iterable[KeptToken] = ()) -> None:
        """Read the entries of the configuration and those of the token file; raise ValueError (ScopeError for a scope),
        with the entry's place, if one is unusable."""
        self._by_digest: dict[bytes, Identity] = {}
        for index, entry in enumerate(tokens):
            token_id = f"token[{index}]"
            if not entry.token:
                raise ValueError(f"{token_id}.token is empty; HELLO takes an empty token for none")
            digest = _digest(entry.token)
            if digest in self._by_digest:
                raise ValueError(f"{token_id}.token is the same as that of {self._by_digest[digest].token_id}")
            scopes = Scopes(_parse(scope, f"{token_id}.scopes[{at}]") for at, scope in enumerate(entry.scopes))
            self._by_digest[digest] = Identity(entry.subject, scopes, token_id, entry.expires, digest)
        for token in kept:
            # What the configuration says of a token comes first.
            if token.digest not in self._by_digest:
                scopes = Scopes(_parse(scope, token.name) for scope in token.scopes)
                token_id = f"{token.name} ({token.id})"
                self._by_digest[token.digest] = Identity(token.name, scopes, token_id, token.expires, token.digest)

    def validate(self, token: str, now_s: float) -> Identity:
        """Return whom the token stands for, or raise Unauthorized. `now_s` is in seconds since the Unix epoch."""
        if not token:
            raise Unauthorized(ErrorCode.UNAUTHORIZED, "Authentication required")
        identity = self._find(_digest(token))
        if identity is None:
            raise Unauthorized(ErrorCode.UNAUTHORIZED, "Invalid token: token not found")
        return _unexpired(identity, now_s)

    def revalidate(self, identity: Identity, now_s: float) -> Identity:
        """Return what the token of a running session stands for now, in this store; raise Unauthorized if nothing.

        For sessions that outlive a reload or their expiry, which upstream never ends (security.md 10.8). Asked about
        every session each second, so it is no search; the digest is our own, so its duration gives nothing away.
        """
        current = self._by_digest.get(identity.digest)
        if current is None:
            raise Unauthorized(ErrorCode.UNAUTHORIZED, "Token has been revoked")
        return _unexpired(current, now_s)

    def recognise(self, fingerprint: str, now_s: float) -> Identity:
        """Return the identity with this fingerprint; raise Unauthorized if there is none, or no more."""
        for identity in self._by_digest.values():
            if identity.fingerprint == fingerprint:
                return _unexpired(identity, now_s)
        raise Unauthorized(ErrorCode.UNAUTHORIZED, "Token has been revoked")

    def _find(self, digest: bytes) -> Identity | None:
        """Compare with every entry, each in constant time: how long it takes tells nothing about a near miss."""
        found = None
        for identity in self._by_digest.values():
            if compare_digest(identity.digest, digest):
                found = identity
        return found

    def __len__(self) -> int:
        return len(self._by_digest)


def _unexpired(identity: Identity, now_s: float) -> Identity:
    if identity.expired(now_s):
        raise Unauthorized(ErrorCode.TOKEN_EXPIRED, "Token has expired")
    return identity


def _digest(token: str) -> bytes:
    # A lone surrogate cannot arrive as UTF-8, but a caller may hold one: it is a wrong token, not an error.
    return sha256(token.encode(errors="surrogatepass")).digest()


def _parse(scope: str, place: str) -> Scope:
    try:
        return Scope.parse(scope)
    except ScopeError as error:
        raise ScopeError(f"{place}: {error}") from None
