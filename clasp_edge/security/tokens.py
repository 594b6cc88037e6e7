"""Static tokens: the secrets a configuration lists, and the identities they stand for.

Responsible for recognising a token and for saying why one is refused, in the codes and texts of router.md 1.4. Knows
no session, no file and no clock: the caller passes the time, and a changed list makes a new store.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from hashlib import sha256
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address

from clasp_edge.quota import UNLIMITED, Quota
from clasp_edge.security.scope import Action, Scope, ScopeError, Scopes
from clasp_edge.security.token_file import MAX_TOKENS, KeptToken
from clasp_edge.security.user_file import User
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
    quota: Quota = UNLIMITED


@dataclass(frozen=True, slots=True)
class StaticNetwork:
    """One `[[security.network]]`: what devices there may do that cannot log in."""

    networks: tuple[IPv4Network | IPv6Network, ...]
    protocols: tuple[str, ...]
    scopes: Sequence[str]


@dataclass(frozen=True, slots=True)
class StaticCertificate:
    """One `[[security.certificate]]`: what the bearer of a client certificate with this name may do."""

    name: str
    subject: str
    scopes: Sequence[str]


CAPABILITY = "cap_"

MOST_CLIENTS = 4096
"""Clients of users whose scopes are remembered; of others they are made anew."""


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
    root: str = ""
    """Of a capability token: the key that begins its chain."""
    names: frozenset[str] = frozenset()
    """Of a capability token: what it can be revoked by."""
    quota: Quota = UNLIMITED

    @property
    def administers(self) -> bool:
        """Whether it has a scope for `admin` anywhere."""
        return bool(self.scopes.patterns(Action.ADMIN))

    @property
    def fingerprint(self) -> str:
        """Names the token for good; the digest cannot be told from it."""
        return fingerprint_of(self.digest)

    def expired(self, now_s: float) -> bool:
        """Tell whether the time is past `expires`; that second itself is still good (security.md 4)."""
        return self.expires is not None and now_s > self.expires


class TokenStore:
    """The static tokens of one configuration. Keeps digests, not the tokens."""

    def __init__(
        self,
        tokens: Iterable[StaticToken] = (),
        kept: Iterable[KeptToken] = (),
        users: Iterable[User] = (),
        networks: Iterable[StaticNetwork] = (),
        certificates: Iterable[StaticCertificate] = (),
        anchors: Iterable[str] = (),
        revoked: frozenset[str] | None = frozenset(),
    ) -> None:
        """Read the entries of the configuration and those of the files; raise ValueError (ScopeError for a scope), with
        the entry's place, if one is unusable."""
        self._by_digest: dict[bytes, Identity] = {}
        self._anchors = tuple(anchors)
        self._certificates = {
            certificate.name: _certificate_identity(certificate, f"security.certificate[{index}]")
            for index, certificate in enumerate(certificates)
        }
        self._revoked = revoked
        self.users = {user.name: user for user in users}
        self._users = {_user_digest(user): user for user in self.users.values()}
        self._as_client: dict[tuple[bytes, str], Identity] = {}
        self._networks = [
            (network, _network_identity(network, f"security.network[{index}]"))
            for index, network in enumerate(networks)
        ]
        for index, entry in enumerate(tokens):
            token_id = f"token[{index}]"
            if not entry.token:
                raise ValueError(f"{token_id}.token is empty; HELLO takes an empty token for none")
            digest = _digest(entry.token)
            if digest in self._by_digest:
                raise ValueError(f"{token_id}.token is the same as that of {self._by_digest[digest].token_id}")
            scopes = Scopes(_parse(scope, f"{token_id}.scopes[{at}]") for at, scope in enumerate(entry.scopes))
            self._by_digest[digest] = Identity(
                entry.subject, scopes, token_id, entry.expires, digest, quota=entry.quota
            )
        for token in kept:
            # What the configuration says of a token comes first.
            if token.digest not in self._by_digest:
                self._by_digest[token.digest] = _kept_identity(token)

    def validate(self, token: str, now_s: float) -> Identity:
        """Return whom the token stands for, or raise Unauthorized. `now_s` is in seconds since the Unix epoch."""
        if not token:
            raise Unauthorized(ErrorCode.UNAUTHORIZED, "Authentication required")
        identity = self._find(_digest(token))
        if identity is None and token.startswith(CAPABILITY):
            return self._capability(token, now_s)
        if identity is None:
            raise Unauthorized(ErrorCode.UNAUTHORIZED, "Invalid token: token not found")
        return _unexpired(identity, now_s)

    def revalidate(self, identity: Identity, now_s: float) -> Identity:
        """Return what the token of a running session stands for now, in this store; raise Unauthorized if nothing.

        For sessions that outlive a reload or their expiry, which upstream never ends (security.md 10.8). Asked about
        every session each second, so it is no search; the digest is our own, so its duration gives nothing away.
        """
        if identity.root:
            return _unexpired(self._unrevoked(identity), now_s)
        current = self._by_digest.get(identity.digest)
        if current is None:
            current = self._other(identity.digest, identity.client)
        if current is None:
            raise Unauthorized(ErrorCode.UNAUTHORIZED, "Token has been revoked")
        return _unexpired(current, now_s)

    def recognise(self, fingerprint: str, now_s: float, client: str = "") -> Identity:
        """Return the identity with this fingerprint, as this client; raise Unauthorized where there is none."""
        for identity in self._by_digest.values():
            if identity.fingerprint == fingerprint:
                return _unexpired(identity, now_s)
        for digest in (*self._users, *self._other_digests()):
            if fingerprint_of(digest) == fingerprint:
                found = self._other(digest, client)
                assert found is not None
                return found
        raise Unauthorized(ErrorCode.UNAUTHORIZED, "Token has been revoked")

    def _capability(self, token: str, now_s: float) -> Identity:
        if not self._anchors:
            raise Unauthorized(ErrorCode.UNAUTHORIZED, "Invalid token: security.trust_anchors is empty")
        # Loaded with the first such token: most boxes never see one.
        from clasp_edge.security import capability

        try:
            found = capability.verify(token, [capability.read_key(text) for text in self._anchors], now_s)
        except capability.Expired:
            raise Unauthorized(ErrorCode.TOKEN_EXPIRED, "Token has expired") from None
        except capability.CapabilityError as error:
            raise Unauthorized(ErrorCode.UNAUTHORIZED, f"Invalid token: {error}") from None
        leaf = found.leaf
        return self._unrevoked(
            Identity(
                # One principal, however often its bearers delegate.
                f"cap {found.root.nonce}", Scopes(capability.scopes_of(leaf.scopes)), leaf.nonce, leaf.expires_at,
                _digest(token), "", capability.key_text(found.root.issuer), capability.names_of(found),
            )
        )  # fmt: skip

    def _unrevoked(self, identity: Identity) -> Identity:
        """A capability token's identity, if its root is still trusted and none of its links was revoked."""
        from clasp_edge.security.capability import key_text, read_key

        if self._revoked is None:
            raise Unauthorized(ErrorCode.UNAUTHORIZED, "the list of revoked tokens cannot be read")
        if identity.names & self._revoked or identity.root not in {key_text(read_key(one)) for one in self._anchors}:
            raise Unauthorized(ErrorCode.UNAUTHORIZED, "Token has been revoked")
        return identity

    def holds(self, token: str) -> bool:
        """Whether there is such a token, expired or not, or it is one that was made elsewhere."""
        return token.startswith(CAPABILITY) or self._find(_digest(token)) is not None

    def of_user(self, user: User, client: str) -> Identity:
        """Whom a user stands for, as this client."""
        digest = _user_digest(user)
        identity = self._as_client.get((digest, client))
        if identity is None:
            identity = Identity(user.name, user.scopes_for(client), f"user {user.name}", None, digest, client)
            if len(self._as_client) >= MOST_CLIENTS:
                self._as_client.pop(next(iter(self._as_client)))
            self._as_client[digest, client] = identity
        return identity

    def of_network(self, protocol: str, host: str) -> Identity | None:
        """Whom a device in one of the networks stands for; the first that has it decides."""
        try:
            address = ip_address(host.strip("[]").partition("%")[0])
        except ValueError:
            return None
        if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        for network, identity in self._networks:
            if protocol in network.protocols and any(address in one for one in network.networks):
                return identity
        return None

    def of_certificate(self, names: Sequence[str]) -> Identity | None:
        """Whom the bearer of a certificate with these names stands for; the first name that is listed decides."""
        return next((self._certificates[name] for name in names if name in self._certificates), None)

    def _other_digests(self) -> Iterator[bytes]:
        yield from (identity.digest for identity in self._certificates.values())
        yield from (identity.digest for _, identity in self._networks)

    def _other(self, digest: bytes, client: str) -> Identity | None:
        """Whom a user or a network stands for."""
        user = self._users.get(digest)
        if user is not None:
            return self.of_user(user, client)
        others = (*self._certificates.values(), *(identity for _, identity in self._networks))
        return next((identity for identity in others if identity.digest == digest), None)

    def _find(self, digest: bytes) -> Identity | None:
        """As quick with ten thousand as with one. How long it takes tells nothing about a near miss: digests of tokens
        that are alike are not."""
        return self._by_digest.get(digest)

    def __len__(self) -> int:
        return len(self._by_digest)


@lru_cache(MAX_TOKENS)
def _kept_identity(token: KeptToken) -> Identity:
    """Whom a token of the file stands for; the same object as long as nothing about it changes."""
    scopes = Scopes(_parse(scope, token.name) for scope in token.scopes)
    token_id = f"{token.name} ({token.id})"
    return Identity(token.name, scopes, token_id, token.expires, token.digest, quota=token.quota)


def _unexpired(identity: Identity, now_s: float) -> Identity:
    if identity.expired(now_s):
        raise Unauthorized(ErrorCode.TOKEN_EXPIRED, "Token has expired")
    return identity


def fingerprint_of(digest: bytes) -> str:
    """Names what the digest is of; the digest cannot be told from it."""
    return sha256(b"clasp-edge owner:" + digest).hexdigest()


def _user_digest(user: User) -> bytes:
    # Another password makes another one: what the old one opened ends.
    return sha256(f"user:{user.name}\0{user.password}".encode()).digest()


def _network_identity(network: StaticNetwork, place: str) -> Identity:
    name = ", ".join(map(str, network.networks))
    scopes = Scopes(_parse(scope, f"{place}.scopes[{at}]") for at, scope in enumerate(network.scopes))
    return Identity(f"network {name}", scopes, place, None, sha256(f"network:{name}".encode()).digest())


def _certificate_identity(certificate: StaticCertificate, place: str) -> Identity:
    scopes = Scopes(_parse(scope, f"{place}.scopes[{at}]") for at, scope in enumerate(certificate.scopes))
    digest = sha256(f"certificate:{certificate.name}".encode()).digest()
    return Identity(certificate.subject or certificate.name, scopes, place, None, digest)


def _digest(token: str) -> bytes:
    # A lone surrogate cannot arrive as UTF-8, but a caller may hold one: it is a wrong token, not an error.
    return sha256(token.encode(errors="surrogatepass")).digest()


def _parse(scope: str, place: str) -> Scope:
    try:
        return Scope.parse(scope)
    except ScopeError as error:
        raise ScopeError(f"{place}: {error}") from None
