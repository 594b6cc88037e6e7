"""Brings the security room's tokens to the router: builds the authenticator that the configuration asks for."""

from __future__ import annotations

from clasp_edge.clock import Clock
from clasp_edge.config.model import Config
from clasp_edge.router import access
from clasp_edge.router.access import Refused
from clasp_edge.security.tokens import Identity, StaticToken, TokenStore, Unauthorized


class TokenAuthenticator:
    """Static tokens from the configuration (`router.access.Authenticator`)."""

    def __init__(self, config: Config, clock: Clock) -> None:
        self._clock = clock
        self._store = TokenStore()
        self.reload(config)

    def reload(self, config: Config) -> None:
        """Take over the tokens of a changed configuration; running sessions are re-validated against them."""
        self._store = TokenStore(
            StaticToken(
                token=entry.token,
                subject=entry.subject,
                scopes=entry.scopes,
                expires=entry.expires.timestamp() if entry.expires is not None else None,
            )
            for entry in config.security.token
        )

    def validate(self, token: str) -> Identity:
        try:
            return self._store.validate(token, self._clock.wall_s())
        except Unauthorized as error:
            raise Refused(error.code, error.text) from None

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
