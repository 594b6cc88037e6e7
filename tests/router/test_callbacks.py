"""One who fails stops nobody else: all that have asked are called, and nothing of a session that ends stays behind."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

import pytest

from clasp_edge.callbacks import call_each
from clasp_edge.clock import Clock
from clasp_edge.config.model import Config
from clasp_edge.dataplane import Framing
from clasp_edge.router.link import CloseCode
from clasp_edge.router.router import Router
from clasp_edge.router.session import Session
from clasp_edge.wire import Hello, Message, Subscribe, encode_payload

HELLO = Hello(1, "who", ("param",))


class _Link:
    remote = "127.0.0.9:1"

    def pause_reading(self) -> None: ...
    def resume_reading(self) -> None: ...
    def ping(self) -> None: ...
    def abort(self) -> None: ...
    def close(self, code: CloseCode, reason: str) -> None: ...


def _fails(*_: object) -> None:
    raise ZeroDivisionError


def _say(session: Session, *messages: Message) -> None:
    for message in messages:
        session.on_message(encode_payload(message), 0)


def _in_loop(test: Callable[[Router, Session], None]) -> None:
    """With a session that is about to say HELLO."""

    async def main() -> None:
        router = Router(Config(), asyncio.get_running_loop(), Clock())
        ours, theirs = socket.socketpair()
        with ours, theirs:
            test(router, router.connect(_Link(), ours.fileno(), Framing.TCP))
        router.stop()

    asyncio.run(main())


def test_all_are_called_in_order(caplog: pytest.LogCaptureFixture) -> None:
    called: list[tuple[int, str]] = []
    call_each((lambda a, b: called.append((1, b)), _fails, lambda a, b: called.append((2, b))), 0, "x")
    assert called == [(1, "x"), (2, "x")]
    assert "a callback failed: _fails" in caplog.text


@pytest.mark.parametrize("place", ["first", "last"])
def test_a_session_that_ends_leaves_nothing_whatever_fails(place: str) -> None:
    seen: list[Session] = []

    def test(router: Router, session: Session) -> None:
        _say(session, HELLO, *(Subscribe(number, f"/a/{number}/**") for number in range(40)))
        assert router.plane.trie.size == 40
        account = session.holding.account
        assert account.used > 0
        router.on_ended += [_fails, seen.append] if place == "first" else [seen.append, _fails]
        router.settle = _fails  # type: ignore[method-assign]
        session.disconnected()
        router.endings.finish()
        assert seen == [session]
        assert (router.plane.trie.size, account.used) == (0, 0)

    _in_loop(test)


def test_who_comes_in_is_told_to_all_that_want_to_know() -> None:
    seen: list[Session] = []

    def test(router: Router, session: Session) -> None:
        router.on_admitted += [_fails, seen.append]
        _say(session, HELLO)
        assert seen == [session]
        session.disconnected()

    _in_loop(test)
