"""Brings the security room's tokens to the router: those of the configuration, those of the token file; and what a
wrong one costs.

Every login that is refused goes to the trail (security.trail), with where it came from and why.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import ip_network

from clasp_edge.clock import Clock
from clasp_edge.config.model import Config
from clasp_edge.daemon.password_checks import PasswordChecks
from clasp_edge.quota import Quota
from clasp_edge.router import access
from clasp_edge.router.access import Refused
from clasp_edge.router.principal import host_of, principal_of
from clasp_edge.security.guesses import Guesses
from clasp_edge.security.revocations import Revocations
from clasp_edge.security.token_file import KeptToken, TokenFile, TokenFileError, digest_of
from clasp_edge.security.tokens import Identity, StaticCertificate, StaticNetwork, StaticToken, TokenStore, Unauthorized
from clasp_edge.security.trail import Trail
from clasp_edge.security.user_file import User, UserFile
from clasp_edge.transports.bind import Peer
from clasp_edge.wire import ErrorCode

log = logging.getLogger("clasp_edge.security")


@dataclass(slots=True)
class Use:
    """Where and when a token was used last, and how often since the start."""

    count: int = 0
    last_s: float = 0.0
    remote: str = ""


MOST_USES = 4096
"""Tokens whose last use is remembered: capability tokens are made by whoever has one."""


def _source(remote: str) -> str:
    """Whose failures these are: a host, of IPv6 a network, since who has one has all its addresses."""
    return principal_of(host_of(remote))


class TokenAuthenticator:
    """Static tokens from configuration and token file (`router.access.Authenticator`)."""

    def __init__(self, config: Config, clock: Clock, trail: Trail) -> None:
        self._clock = clock
        self._trail = trail
        self._config = config
        self.file = TokenFile(config.data_dir)
        self.users = UserFile(config.data_dir)
        self.revocations = Revocations(config.data_dir)
        self._checks = PasswordChecks(asyncio.get_running_loop)
        self.guesses = Guesses()
        self.uses: OrderedDict[bytes, Use] = OrderedDict()
        self._store = TokenStore()
        self._kept: list[KeptToken] = []
        self._kept_users: list[User] = []
        self._revoked: frozenset[str] | None = None
        self._state: object = None
        self.reload(config)

    def reload(self, config: Config) -> None:
        """Take over the tokens of a changed configuration; running sessions are re-validated against them."""
        self._config = config
        self._read_files()
        self._store = TokenStore(
            (
                StaticToken(
                    token=entry.token,
                    subject=entry.subject,
                    scopes=entry.scopes,
                    expires=entry.expires.timestamp() if entry.expires is not None else None,
                    quota=Quota(*(getattr(entry, part) for part in Quota._fields)),
                )
                for entry in config.security.token
            ),
            self._kept,
            self._kept_users,
            (
                StaticNetwork(tuple(map(ip_network, entry.networks)), entry.protocols, entry.scopes)
                for entry in config.security.network
            ),
            (StaticCertificate(entry.name, entry.subject, entry.scopes) for entry in config.security.certificate),
            config.security.trust_anchors,
            self._revoked,
        )

    def file_changed(self) -> bool:
        """Take the files of tokens and users over if they are not what they were; whether they were not."""
        if self._states() == self._state:
            return False
        self.reload(self._config)
        return True

    def _states(self) -> object:
        return self.file.state(), self.users.state(), self.revocations.state()

    def _read_files(self) -> None:
        """Each for itself: better those of before than a locked door, or one that is open."""
        self._state = self._states()
        try:
            self._kept = self.file.read()
        except TokenFileError as error:
            log.error("%s; the tokens of before stay in force", error)
        try:
            self._kept_users = self.users.read()
        except TokenFileError as error:
            log.error("%s; the users of before stay in force", error)
        try:
            self._revoked = self.revocations.read()
        except TokenFileError as error:
            before = "no capability token is accepted" if self._revoked is None else "those of before stay revoked"
            log.error("%s; %s", error, before)

    def validate(self, token: str, remote: str = "") -> Identity:
        host = _source(remote)
        if not token:
            shown = self.of_certificate(remote)
            if shown is not None:
                self._used(shown, remote)
                return shown
        digest = digest_of(token)
        now_s = self._clock.monotonic_s()
        wait_s = self.guesses.wait_s(host, digest, now_s) if token else 0.0
        if wait_s > 0:
            self._say(remote, "too many wrong tokens")
            raise Refused(
                ErrorCode.RATE_LIMITED, f"Too many wrong tokens from this address: try again in {wait_s:.0f} s"
            )
        try:
            identity = self._store.validate(token, self._clock.believed_s())
        except Unauthorized as error:
            if token and error.code != ErrorCode.TOKEN_EXPIRED:
                self.guesses.failure(host, now_s)
            self._say(remote, error.text)
            raise Refused(error.code, error.text) from None
        self.guesses.success(host, digest)
        self._used(identity, remote)
        return identity

    def _used(self, identity: Identity, remote: str) -> None:
        use = self.uses.setdefault(identity.digest, Use())
        use.count, use.last_s, use.remote = use.count + 1, self._clock.believed_s(), remote.rpartition(":")[0]
        self.uses.move_to_end(identity.digest)
        if len(self.uses) > MOST_USES:
            self.uses.popitem(last=False)

    def _say(self, remote: str, reason: str, name: str = "") -> None:
        """Name a refused login."""
        self._trail.note("login refused", remote=remote, client=name, reason=reason)

    def takes_password(self, name: str, password: bytes) -> bool:
        # Of nobody too, where there are users at all: how long it takes must not tell who they are.
        if not self._store.users or not name:
            return False
        return name in self._store.users or not self._store.holds(password.decode(errors="replace"))

    def check_password(
        self, name: str, password: bytes, client: str, remote: str, then: Callable[[access.Identity | Refused], None]
    ) -> None:
        host = _source(remote)
        user = self._store.users.get(name)
        kept = user.password if user is not None else ""
        if kept and self._checks.known(kept, password):
            then(self._logged_in(name, kept, password, client, remote))
            return
        now_s = self._clock.monotonic_s()
        wait_s = self.guesses.wait_s(host, b"", now_s)
        if wait_s > 0:
            self._say(remote, "too many wrong passwords", name)
            then(
                Refused(
                    ErrorCode.RATE_LIMITED,
                    f"Too many wrong passwords from this address: try again in {wait_s:.0f} s",
                )
            )
            return

        def have(right: bool) -> None:
            if right:
                then(self._logged_in(name, kept, password, client, remote))
                return
            self.guesses.failure(host, self._clock.monotonic_s())
            self._say(remote, "wrong user name or password", name)
            then(Refused(ErrorCode.UNAUTHORIZED, "wrong user name or password"))

        if not self._checks.check(host, kept, password, have):
            self._say(remote, "too many logins at once", name)
            then(Refused(ErrorCode.RATE_LIMITED, "too many logins at once: try again in a few seconds"))

    def _logged_in(self, name: str, kept: str, password: bytes, client: str, remote: str) -> access.Identity | Refused:
        user = self._store.users.get(name)
        if user is None or user.password != kept:
            return Refused(ErrorCode.UNAUTHORIZED, "wrong user name or password")  # changed meanwhile
        identity = self._store.of_user(user, client)
        self._used(identity, remote)
        return identity

    def of_certificate(self, remote: str) -> Identity | None:
        # What was shown goes with the connection's address, not with every connection that has the same one.
        return self._store.of_certificate(remote.names if isinstance(remote, Peer) else ())

    def of_network(self, protocol: str, host: str) -> Identity | None:
        return self._store.of_network(protocol, host)

    def recognise(self, fingerprint: str, client: str = "") -> Identity:
        try:
            return self._store.recognise(fingerprint, self._clock.believed_s(), client)
        except Unauthorized as error:
            raise Refused(error.code, error.text) from None

    def revalidate(self, identity: access.Identity) -> Identity:
        assert isinstance(identity, Identity), "only `validate` makes identities"
        try:
            return self._store.revalidate(identity, self._clock.believed_s())
        except Unauthorized as error:
            raise Refused(error.code, error.text) from None
