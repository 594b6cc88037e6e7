"""What two routers do not agree about is found, named, mended where both may, and shown as long as it is not."""

from __future__ import annotations

import json
from typing import Any

from support.client import WsClient
from support.console import ask
from support.daemon import Daemon
from support.federated import JOURNAL, await_down, await_up, await_value, box, client, uplink
from support.live import eventually, get

from clasp_edge.wire import Ack, Qos, Set

LINK = "link-token-link-token-link-token"
ADMIN = "admin-token-admin-token-admin-token"


def tokens(*scopes: str) -> str:
    return (
        f'[security]\nmode = "authenticated"\n[[security.token]]\ntoken = "{LINK}"\nscopes = {json.dumps(scopes)}\n'
        f'[[security.token]]\ntoken = "{ADMIN}"\nscopes = ["admin:/**"]\n'
    )


def configure(daemon: Daemon, text: str) -> None:
    (daemon.directory / "clasp-edge.toml").write_text(text)
    assert not ask(daemon.control_path, request="reload")["result"]["problems"]


def status(daemon: Daemon) -> dict[str, Any]:
    found: dict[str, Any] = ask(daemon.control_path, request="status")["result"]
    return found


def link_of(daemon: Daemon) -> dict[str, Any]:
    found: dict[str, Any] = status(daemon)["uplinks"]["hub"]
    return found


def peer_of(hub: Daemon) -> dict[str, Any]:
    (found,) = status(hub)["federation"]["peers"].values()
    assert isinstance(found, dict)
    return found


def why(daemon: Daemon, address: str) -> str:
    """The sentences about what may be the reason."""
    findings = ask(daemon.control_path, request="why", address=address)["result"]["findings"]
    return "\n".join(f"{each['about']}: {each['text']}" for each in findings if each["well"] is False)


def write(at: WsClient, address: str, value: int, *, lock: bool = False, revision: int | None = None) -> Ack:
    at.send(Set(address, value, lock=lock, revision=revision), Qos.CONFIRM)
    return at.recv_until(Ack, timeout=30.0)


def test_what_a_narrowed_token_keeps_apart_is_named_and_mended_when_it_may_be() -> None:
    reads = ("read:/box", "read:/box/**")
    writes = ("write:/box", "write:/box/**")
    with Daemon(config=tokens(*reads, *writes), sets=JOURNAL) as hub:
        link = uplink(hub.ws_url, token=LINK, owns=["/box/**"])
        with box(link, sets=JOURNAL) as below, client(below) as writer, client(hub, token=ADMIN) as above:
            await_up(below)

            def stands(value: int) -> bool:
                param = get(above, "/box/x")
                return param is not None and param.value == value

            write(writer, "/box/x", 1)
            eventually(lambda: stands(1), 30.0)
            configure(hub, tokens(*reads))
            write(writer, "/box/x", 2)
            eventually(lambda: "/box/x" in link_of(below)["differs"], 40.0)
            eventually(lambda: "/box/x" in peer_of(hub)["differs"], 40.0)
            assert "differs" in why(below, "/box/x")
            assert stands(1)
            assert "1 params differed from the hub's and are told again: /box/x" in below.stderr
            configure(hub, tokens(*reads, *writes))
            eventually(lambda: stands(2), 40.0)
            eventually(lambda: not link_of(below)["differs"] and not peer_of(hub)["differs"], 40.0)
            assert link_of(below)["mended"] >= 1
            assert "differs" not in why(below, "/box/x")


def test_a_write_that_needs_a_word_is_pending_until_it_is_there() -> None:
    with Daemon(sets=JOURNAL) as hub:
        link = uplink(hub.ws_url, owns=["/box/**"], wants=["/sh/**"])
        with box(link, sets=JOURNAL) as below, client(below) as writer:
            await_up(below)
            hub.kill()
            await_down(below)
            revision = write(writer, "/sh/plain", 1).revision
            write(writer, "/sh/x", 1, lock=True)
            write(writer, "/sh/plain", 2, revision=revision)
            write(writer, "/sh/free", 1)
            write(writer, "/box/x", 1, lock=True)
            eventually(lambda: link_of(below)["pending"] == 2, 30.0)
            assert link_of(below)["awaited"] == "/sh/x, /sh/plain"
            assert "pending" in why(below, "/sh/x")
            assert "a lock" in why(below, "/sh/x")
            assert "an expected revision" in why(below, "/sh/plain")
            assert "pending" not in why(below, "/sh/free")
            assert "pending" not in why(below, "/box/x"), "it is decided here"
            hub.start()
            await_up(below)
            eventually(lambda: link_of(below)["pending"] == 0, 40.0)
            await_value(hub, "/sh/x", 1, 30.0)
            assert "pending" not in why(below, "/sh/x")
            # Nor does anything that is decided at once stay.
            write(writer, "/sh/x", 2)
            await_value(hub, "/sh/x", 2, 30.0)
            eventually(lambda: link_of(below)["pending"] == 0, 40.0)
