"""Brings the security room's tokens to the router: those of the configuration, those of the token file; and what a
wrong one costs.

Every login that is refused goes to the trail (security.trail), with where it came from and why.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

from clasp_edge.clock import Clock
from clasp_edge.config.model import Config
from clasp_edge.router import access
from clasp_edge.router.access import Refused
from clasp_edge.security.guesses import Guesses
from clasp_edge.security.token_file import KeptToken, TokenFile, TokenFileError, digest_of
from clasp_edge.security.tokens import Identity, StaticToken, TokenStore, Unauthorized
from clasp_edge.security.trail import Trail
from clasp_edge.wire import ErrorCode

log = logging.getLogger("clasp_edge.security")


@dataclass(slots=True)
class Use:
    """Where and when a token was used last, and how often since the start."""

    count: int = 0
    last_s: float = 0.0
    remote: str = ""


class TokenAuthenticator:
    """Static tokens from configuration and token file (`router.access.Authenticator`)."""

    def __init__(self, config: Config, clock: Clock, trail: Trail) -> None:
        self._clock = clock
        self._trail = trail
        self._config = config
        self.file = TokenFile(config.data_dir)
        self.guesses = Guesses()
        self.uses: dict[bytes, Use] = {}
        self._store = TokenStore()
        self._kept: list[KeptToken] = []
        self._state: object = None
        self._read_file()
        self.reload(config)

    def reload(self, config: Config) -> None:
        """Take over the tokens of a changed configuration; running sessions are re-validated against them."""
        self._config = config
        self._read_file()
        self._store = TokenStore(
            (
                StaticToken(
                    token=entry.token,
                    subject=entry.subject,
                    scopes=entry.scopes,
                    expires=entry.expires.timestamp() if entry.expires is not None else None,
                )
                for entry in config.security.token
            ),
            self._kept,
        )

    def file_changed(self) -> bool:
        """Take the token file over if it is not what it was; whether it was not."""
        if self.file.state() == self._state:
            return False
        self.reload(self._config)
        return True

    def _read_file(self) -> None:
        self._state = self.file.state()
        try:
            self._kept = self.file.read()
        except TokenFileError as error:
            # Better those of before than a locked door, or one that is open.
            log.error("%s; the tokens of before stay in force", error)

    def validate(self, token: str, remote: str = "") -> Identity:
        host = remote.rpartition(":")[0]
        digest = digest_of(token)
        now_s = self._clock.monotonic_s()
        wait_s = self.guesses.wait_s(host, digest, now_s) if token else 0.0
        if wait_s > 0:
            self._say(remote, "too many wrong tokens")
            raise Refused(
                ErrorCode.RATE_LIMITED, f"Too many wrong tokens from this address: try again in {wait_s:.0f} s"
            )
        try:
            identity = self._store.validate(token, self._clock.wall_s())
        except Unauthorized as error:
            if token and error.code != ErrorCode.TOKEN_EXPIRED:
                self.guesses.failure(host, now_s)
            self._say(remote, error.text)
            raise Refused(error.code, error.text) from None
        self.guesses.success(host, digest)
        use = self.uses.setdefault(identity.digest, Use())
        use.count, use.last_s, use.remote = use.count + 1, self._clock.wall_s(), host
        return identity

    def _say(self, remote: str, reason: str) -> None:
        """Name a refused login."""
        self._trail.note("login refused", remote=remote, reason=reason)

    def recognise(self, fingerprint: str) -> Identity:
        try:
            return self._store.recognise(fingerprint, self._clock.wall_s())
        except Unauthorized as error:
            raise Refused(error.code, error.text) from None

    def revalidate(self, identity: access.Identity) -> Identity:
        assert isinstance(identity, Identity), "only `validate` makes identities"
        try:
            return self._store.revalidate(identity, self._clock.wall_s())
        except Unauthorized as error:
            raise Refused(error.code, error.text) from None
