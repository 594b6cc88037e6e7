"""Rules in a running router: everything sets them off, and what they write is an ordinary write."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

from support.client import WsClient
from support.daemon import Daemon
from support.live import eventually

from clasp_edge import wire

RULES = """
[[rule]]
id = "copy"
trigger = { type = "set", pattern = "/in/*" }
do = [{ set = "/out/{1}" }]

[[rule]]
id = "from-event"
trigger = { type = "event", pattern = "/go" }
do = [{ publish = "/gone", value = "{value}" }]

[[rule]]
id = "confined"
scopes = ["write:/allowed/**"]
trigger = { type = "event", pattern = "/try" }
do = [{ set = "/forbidden", value = 1 }, { set = "/allowed/a", value = 1 }]

[[rule]]
id = "reserved"
trigger = { type = "event", pattern = "/try" }
do = [{ set = "/clasp-edge/board/problems", value = "none" }]

[[rule]]
id = "joined"
trigger = { type = "session", event = "join", name = "desk*" }
do = [{ set = "/desk/here", value = true }]
"""


GUARDED = (
    RULES
    + """
[security]
mode = "authenticated"

[[security.token]]
token = "may-write"
scopes = ["write:/**"]

[[security.token]]
token = "administers-rules"
scopes = ["admin:/clasp-edge/rules/**"]
"""
)


def value_of(client: WsClient, address: str) -> object:
    """The value of a param, waited for."""
    client.send(wire.Subscribe(99, address))
    try:
        while True:
            message = client.recv()
            if isinstance(message, wire.Set) and message.address == address:
                return message.value
            if isinstance(message, wire.Snapshot):
                for param in message.params:
                    if param.address == address:
                        return param.value
    finally:
        client.send(wire.Unsubscribe(99))


def command(daemon: Daemon, *words: str) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "clasp_edge", "rules", *words, "--set", f"data_dir={daemon.data_dir}"]
    return subprocess.run(line, capture_output=True, text=True, timeout=30, check=False)


def test_writes_of_all_kinds_set_rules_off_and_theirs_are_ordinary_writes() -> None:
    with Daemon(config=RULES) as daemon, WsClient(daemon.ws_url) as client:
        client.hello("desk 1")
        client.send(wire.Set("/in/a", 0.25))
        assert value_of(client, "/out/a") == 0.25
        client.send(wire.Bundle([wire.Set("/in/b", 1), wire.Set("/in/c", 2)]))
        assert value_of(client, "/out/c") == 2
        assert value_of(client, "/desk/here") is True
        client.send(wire.Subscribe(1, "/gone"))
        client.send(wire.Publish("/go", wire.SignalType.EVENT, 7))
        while True:
            message = client.recv()
            if isinstance(message, wire.Publish):
                break
        assert (message.address, message.value) == ("/gone", "7")
        client.send(wire.Get("/out/a"))
        while True:
            message = client.recv()
            if isinstance(message, wire.Snapshot) and message.params and message.params[0].address == "/out/a":
                break
        assert message.params[0].writer == "rule:copy"


def test_scopes_hold_and_refusals_are_told() -> None:
    with Daemon(config=RULES) as daemon, WsClient(daemon.ws_url) as client:
        client.hello("tester")
        client.send(wire.Publish("/try", wire.SignalType.EVENT))
        assert value_of(client, "/allowed/a") == 1
        shown = command(daemon, "show", "confined").stdout
        assert "scopes" in shown
        assert (
            "scopes" in command(daemon, "show", "reserved").stdout
            or "cannot" in command(daemon, "show", "reserved").stdout
        )
        found = json.loads(command(daemon, "list", "--json").stdout)["rules"]
        assert found["confined"]["errors"] == 1
        assert found["reserved"]["errors"] == 1
        client.send(wire.Get("/forbidden"))
        message = client.recv()
        while not isinstance(message, wire.Error):
            message = client.recv()
        assert message.code == wire.ErrorCode.ADDRESS_NOT_FOUND


def test_a_rule_is_disabled_and_traced_by_command() -> None:
    with Daemon(config=RULES) as daemon, WsClient(daemon.ws_url) as client:
        client.hello("tester")
        assert command(daemon, "disable", "copy").returncode == 0
        client.send(wire.Set("/in/a", 1))
        deadline = time.monotonic() + 10
        while "disabled" not in (traced := command(daemon, "trace", "copy").stdout):
            assert time.monotonic() < deadline, traced
        assert command(daemon, "enable", "copy").returncode == 0
        client.send(wire.Set("/in/a", 2))
        assert value_of(client, "/out/a") == 2
        wrong = command(daemon, "trace", "nothing")
        assert wrong.returncode == 1
        assert "no rule" in wrong.stderr


def test_no_rules_no_room() -> None:
    asked = "import sys, clasp_edge.daemon.parts; print([m for m in sys.modules if m.startswith('clasp_edge.rules')])"
    found = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, timeout=30, check=True)
    assert found.stdout.strip() == "[]"


def test_rules_are_tried_without_a_router(tmp_path: Path) -> None:
    file = tmp_path / "show.toml"
    line = [sys.executable, "-m", "clasp_edge", "rules", "test", str(file)]
    for encoding in ("utf-8", "utf-8-sig"):  # with the mark of Windows' editors
        file.write_bytes(RULES.encode(encoding))
        told = "set /in/x 3\r\nnonsense\r\n".encode(encoding)
        found = subprocess.run(line, input=told, capture_output=True, timeout=30, check=False)
        assert b"copy: set /out/x 3" in found.stdout
        assert b"line 2" in found.stderr
        assert b"line 1" not in found.stderr
        assert found.returncode == 1


def test_a_rule_is_switched_by_its_param() -> None:
    with Daemon(config=RULES) as daemon, WsClient(daemon.ws_url) as client:
        client.hello("desk")
        assert value_of(client, "/clasp-edge/rules/copy/enabled") is True
        client.send(wire.Set("/clasp-edge/rules/copy/enabled", False), qos=1)
        while not isinstance(answer := client.recv(), wire.Ack):
            assert not isinstance(answer, wire.Error), answer
        assert value_of(client, "/clasp-edge/rules/copy/enabled") is False
        assert command(daemon, "list").stdout.splitlines()[0].split()[:2] == ["copy", "disabled"]
        # Neither another key, nor another kind of value, nor a rule that there is not.
        for address, value in (("copy/fired", 7), ("copy/enabled", 1), ("nobody/enabled", True)):
            client.send(wire.Set(f"/clasp-edge/rules/{address}", value), qos=1)
            while not isinstance(answer := client.recv(), wire.Error):
                assert not isinstance(answer, wire.Ack), address
            assert answer.code == wire.ErrorCode.FORBIDDEN


def test_with_tokens_the_switch_is_for_administrators() -> None:
    with Daemon(config=GUARDED) as daemon:
        for token, code in (("may-write", wire.ErrorCode.FORBIDDEN), ("administers-rules", None)):
            with WsClient(daemon.ws_url) as client:
                client.hello("desk", token=token)
                client.send(wire.Set("/clasp-edge/rules/copy/enabled", False), qos=1)
                while not isinstance(answer := client.recv(), wire.Ack | wire.Error):
                    pass
                assert getattr(answer, "code", None) == code
        assert "disabled" in command(daemon, "show", "copy").stdout


def test_a_rule_that_watches_says_what_it_would_do() -> None:
    watching = RULES.replace('id = "copy"', 'id = "copy"\nmode = "watch"')
    with Daemon(config=watching) as daemon, WsClient(daemon.ws_url) as client:
        client.hello("tester")
        client.send(wire.Set("/in/a", 0.25))
        assert value_of(client, "/clasp-edge/rules/copy/would") in ("", "set /out/a 0.25")
        eventually(lambda: "would set /out/a 0.25" in command(daemon, "trace", "copy").stdout)
        assert "set /out/a 0.25" in command(daemon, "show", "copy").stdout
        client.send(wire.Get("/out/a"))
        while not isinstance(message := client.recv(), wire.Error):
            pass
        assert message.code == wire.ErrorCode.ADDRESS_NOT_FOUND
