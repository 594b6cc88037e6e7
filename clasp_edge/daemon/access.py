"""Who may do what as a part of the process: tokens made and withdrawn over the control socket, counts of logins."""

from __future__ import annotations

from asyncio import TimerHandle
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from clasp_edge.config.model import Config
from clasp_edge.console.requests import Refused, Requests
from clasp_edge.console.sources import COUNTER, GAUGE, Family, StatusSources
from clasp_edge.daemon.auth import TokenAuthenticator
from clasp_edge.daemon.claim import Claims
from clasp_edge.daemon.part import Part
from clasp_edge.router.router import Router
from clasp_edge.security import user_requests
from clasp_edge.security.claim_file import Claim
from clasp_edge.security.kept_file import KeptFileError
from clasp_edge.security.known_clock import KnownClock
from clasp_edge.security.revocations import Revocations
from clasp_edge.security.token_file import TokenFile, TokenFileError
from clasp_edge.security.token_requests import CHANGES, answer
from clasp_edge.security.trail import Trail
from clasp_edge.security.user_file import UserFile

SWEEP_S = 10.0
"""How often the trail tells what it has counted for a minute."""


class AccessPart(Part):
    """`changed` makes everybody look at the tokens again: sessions, wills, kept sessions, peers."""

    name = "access"

    def __init__(
        self,
        router: Router,
        config: Config,
        clock: KnownClock,
        trail: Trail,
        authenticator: TokenAuthenticator | None,
        changed: Callable[[], None],
        lock: Callable[[Claim], None],
    ) -> None:
        self._router = router
        self._clock = clock
        self._trail = trail
        self._timer: TimerHandle | None = None
        self._file = TokenFile(config.data_dir)
        self._users = UserFile(config.data_dir)
        self._revocations = Revocations(config.data_dir)
        self._authenticator = authenticator
        self._changed = changed
        self._lock = lock
        self.parts: Sequence[Part] = ()
        """All parts: they know their guests."""

    @property
    def authenticator(self) -> TokenAuthenticator | None:
        """Who looks at tokens; None for a router that asks for none. It may begin to ask."""
        return self._authenticator

    @authenticator.setter
    def authenticator(self, authenticator: TokenAuthenticator) -> None:
        self._authenticator = authenticator

    def ready(self) -> None:
        self._sweep()

    def _sweep(self) -> None:
        """Tell what was counted; look at the clock."""
        self._timer = self._router.loop.call_later(SWEEP_S, self._sweep)
        self._clock.look()
        self._trail.sweep()
        for session in self._router.sessions.values():
            if session.unaudited:
                session.note_writes()

    def apply_config(self, config: Config) -> None:
        self._clock.look()

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._clock.keep()

    def offer(self, requests: Requests) -> None:
        requests.add("token", self._request)
        requests.add("user", self._user_request)
        requests.add("revoke", self._revoke)
        requests.add("claim", Claims(self._router, lambda: self.parts, self._lock))

    def _request(self, request: Mapping[str, Any]) -> Any:
        try:
            found = answer(self._file, request, self._clock)
        except TokenFileError as error:
            raise Refused("token", str(error)) from None
        action = request["action"]
        if action in CHANGES and self._authenticator is not None and self._authenticator.file_changed():
            self._changed()
        if self._authenticator is not None:
            uses = {digest.hex()[:8]: use for digest, use in self._authenticator.uses.items()}
            for row in found.get("tokens", [found]):
                if (use := uses.get(row.get("id", ""))) is not None:
                    row |= {"logins": use.count, "last_login": use.last_s, "last_address": use.remote}
        found["open"] = self._authenticator is None
        return found

    def _user_request(self, request: Mapping[str, Any]) -> Any:
        try:
            found = user_requests.answer(self._users, request)
        except KeptFileError as error:
            raise Refused("user", str(error)) from None
        if self._authenticator is not None and self._authenticator.file_changed():
            self._changed()
        found["open"] = self._authenticator is None
        return found

    def _revoke(self, request: Mapping[str, Any]) -> Any:
        revoked = request.get("id")
        if not isinstance(revoked, str):
            raise Refused("bad-request", 'revoke needs "id": the nonce of a capability token, or a did:key')
        try:
            fresh = self._revocations.add(revoked)
        except KeptFileError as error:
            raise Refused("revoke", str(error)) from None
        if self._authenticator is not None and self._authenticator.file_changed():
            self._changed()
        return {"revoked": fresh}

    def _numbers(self) -> dict[str, int]:
        if self._authenticator is None:
            return {"failed": 0, "turned_away": 0}
        guesses = self._authenticator.guesses
        return {"failed": guesses.failed, "turned_away": guesses.turned_away}

    def _time(self) -> dict[str, Any]:
        return {"set": not self._clock.doubted, "believed": self._clock.believed_s(), "fault": self._clock.fault()}

    def describe(self, sources: StatusSources) -> None:
        sources.add(
            "clock",
            self._time,
            (Family("clasp_edge_clock_set", GAUGE, "Whether the wall clock shows a time that can be.", ("set",)),),
        )
        sources.add(
            "logins",
            self._numbers,
            (
                Family("clasp_edge_logins_failed_total", COUNTER, "Logins with a wrong token.", ("failed",)),
                Family(
                    "clasp_edge_logins_turned_away_total",
                    COUNTER,
                    "Logins of a host that had to wait.",
                    ("turned_away",),
                ),
            ),
        )
