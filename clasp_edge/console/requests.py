"""What can be asked over the control socket: one JSON object for a question, one for the answer.

    {"request": "resync", "target": "front desk"}
    {"ok": true, "result": {...}}
    {"ok": false, "error": {"code": "unknown-target", "message": "...", "known": [...]}}

Knows no sockets. What a request does is in the function that is registered for it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from clasp_edge.console.client import MAX_REQUEST_BYTES

if TYPE_CHECKING:
    from clasp_edge.router.access import Identity

log = logging.getLogger("clasp_edge.console")

Handler = Callable[[Mapping[str, Any]], Any]


ASKS = frozenset(
    {"status", "metrics", "clients", "fingerprint", "why", "discover", "logs", "health", "support", "update", "box"}
    | {"audit"}
)
ASKS_BY_ACTION = frozenset(
    {("rules", ""), ("rules", "list"), ("rules", "trace"), ("claim", "report")}
    | {("settings", ""), ("settings", "show"), ("settings", "check")}
    | {(name, action) for name in ("token", "user") for action in ("list", "show", "test")}
)
"""What changes nothing. Whatever is not named here is written down."""

EVENTS = {"kick": "kicked"}


class Asker(NamedTuple):
    """Who asks: a user of this machine by name, or whoever is at the page, by address and by the token shown there."""

    name: str = ""
    remote: str = "control socket"
    identity: Identity | None = None


SOMEBODY = Asker()


class Refused(Exception):
    """A request that cannot be carried out. `code` is for programs, the text for people; `more` goes along with it."""

    def __init__(self, code: str, text: str, **more: Any) -> None:
        super().__init__(text)
        self.code = code
        self.more = more


class Requests:
    """The requests by name. A handler takes the whole object and returns what JSON can hold, or raises Refused."""

    def __init__(self, note: Callable[[Asker, str, str], None] = lambda who, event, what: None) -> None:
        """`note(who, event, what)` writes down what somebody has changed."""
        self._handlers: dict[str, Handler] = {}
        self._note = note

    def add(self, name: str, handler: Handler) -> None:
        """Answer requests of this name by this function."""
        self._handlers[name] = handler

    def answer(self, line: bytes, who: Asker = SOMEBODY) -> bytes | asyncio.Future[bytes]:
        """The answer to one line, which may be anything at all; `who` asks. A future where it takes time."""
        try:
            request, result = self._result(line, who)
            if isinstance(result, asyncio.Future):
                return self._later(request, result, who)
        except Refused as refusal:
            return _refused(refusal)
        return msgspec.json.encode({"ok": True, "result": result})

    def _later(self, request: Mapping[str, Any], result: asyncio.Future[Any], who: Asker) -> asyncio.Future[bytes]:
        answer: asyncio.Future[bytes] = result.get_loop().create_future()

        def made() -> Any:
            try:
                found = result.result()
            except Refused:
                raise
            except (Exception, asyncio.CancelledError) as error:
                if not isinstance(error, asyncio.CancelledError):
                    log.error("the request %r failed", request["request"], exc_info=error)
                raise _failed() from None
            self._changed(request, who)
            return found

        def is_there(done: asyncio.Future[Any]) -> None:
            told = answer_of(made)
            if not answer.done():
                answer.set_result(told)

        result.add_done_callback(is_there)
        return answer

    def _result(self, line: bytes, who: Asker) -> tuple[Mapping[str, Any], Any]:
        if len(line) > MAX_REQUEST_BYTES:
            raise Refused("bad-request", f"a request has at most {MAX_REQUEST_BYTES} bytes")
        try:
            request = msgspec.json.decode(line)
        # RecursionError: what is nested deeper than anybody means it.
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise Refused("bad-request", "a request is one line with a JSON object") from None
        name = request.get("request") if isinstance(request, dict) else None
        if not isinstance(name, str):
            raise Refused("bad-request", 'a request is a JSON object such as {"request": "status"}')
        handler = self._handlers.get(name)
        if handler is None:
            known = sorted(self._handlers)
            raise Refused("unknown-request", f'no request "{name[:64]}"; there are {", ".join(known)}', known=known)
        try:
            result = handler(request)
        except Refused:
            raise
        except Exception:
            log.exception("the request %r failed", name)
            raise _failed() from None
        if not isinstance(result, asyncio.Future):
            self._changed(request, who)
        return request, result

    def _changed(self, request: Mapping[str, Any], who: Asker) -> None:
        if (what := changed_by(request)) is not None:
            self._note(who, *what)


def answer_of(made: Callable[[], Any]) -> bytes:
    """The answer that says what `made` returns, or why it is Refused."""
    try:
        return msgspec.json.encode({"ok": True, "result": made()})
    except Refused as refusal:
        return _refused(refusal)


def _failed() -> Refused:
    return Refused("internal", "the router failed to answer; its log says why")


def _refused(refusal: Refused) -> bytes:
    error = {"code": refusal.code, "message": str(refusal)} | refusal.more
    return msgspec.json.encode({"ok": False, "error": error})


def changed_by(request: Mapping[str, Any]) -> tuple[str, str] | None:
    """What a request that was carried out has changed, as (event, target); None for one that only asks."""
    name, action = request["request"], request.get("action", "")
    if name in ASKS or (name, action) in ASKS_BY_ACTION:
        return None
    targets = (request.get(key) for key in ("name", "id", "router", "target"))
    target = next((found for found in targets if isinstance(found, str)), "all" if request.get("all") else "")
    return f"{EVENTS.get(name, name)} {action}".strip() if isinstance(action, str) else name, target
