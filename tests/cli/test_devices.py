"""`clasp-edge osc` and `clasp-edge mqtt` against a live router, and what they say when there is none."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest
from support.client import WsClient
from support.console import clasp_edge
from support.daemon import Daemon
from support.live import eventually, get, put

from clasp_edge.cli.main import main


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    with Daemon(mqtt=True, osc=True) as running:
        yield running


@pytest.fixture
def client(daemon: Daemon) -> Iterator[WsClient]:
    found = WsClient(daemon.ws_url)
    found.hello()
    found.sync()
    yield found
    found.close()


def at(pair: tuple[str, int]) -> str:
    return f"{pair[0]}:{pair[1]}"


def test_osc_send(daemon: Daemon, client: WsClient) -> None:
    for values, expected in ((["0.5"], 0.5), (["1"], 1), (["true"], True), (["text", "2"], ["text", 2]),
                             ([str(2**40)], 2**40)):  # fmt: skip
        assert clasp_edge("osc", "send", "--to", at(daemon.osc_address), "/cli/x", *values).returncode == 0
        eventually(lambda expected=expected: getattr(get(client, "/osc/cli/x"), "value", None) == expected)  # type: ignore[misc]


@pytest.mark.parametrize("value", ["99999999999999999999", '"\\ud800"', '[{"a": 1}]'])
def test_osc_send_says_what_has_no_form(capsys: pytest.CaptureFixture[str], value: str) -> None:
    assert main(["osc", "send", "/x", value]) == 1
    assert capsys.readouterr().err.startswith("clasp-edge: it has no form in OSC: ")


def test_osc_dump_subscribes(daemon: Daemon, client: WsClient) -> None:
    put(client, "/osc/dump/x", 7)
    shown = clasp_edge("osc", "dump", "/dump/**", "--from", at(daemon.osc_address), "--count", "1", "--for", "15")
    assert (shown.returncode, shown.stdout.split("  ")[1:]) == (0, ["/dump/x 7\n"])


def test_mqtt_pub_and_sub(daemon: Daemon, client: WsClient) -> None:
    broker = ("--broker", at(daemon.mqtt_address))
    sent = clasp_edge("mqtt", "pub", *broker, "--qos", "1", "--retain", "cli/lamp", "on")
    assert (sent.returncode, sent.stderr) == (0, "")
    assert eventually(lambda: get(client, "/mqtt/cli/lamp")).value == "on"
    shown = clasp_edge("mqtt", "sub", *broker, "cli/#", "--count", "1", "--for", "15")
    assert (shown.returncode, shown.stdout) == (0, "cli/lamp (retained)  on\n")


def test_mqtt_says_what_is_wrong(daemon: Daemon) -> None:
    nobody = clasp_edge("mqtt", "pub", "--broker", "127.0.0.1:9", "a", "b")
    assert (nobody.returncode, nobody.stderr) == (3, "clasp-edge: 127.0.0.1:9: Connection refused\n")
    wrong = clasp_edge("mqtt", "pub", "--broker", at(daemon.mqtt_address), "a/#", "b")
    assert wrong.returncode == 1
    assert "a/#" in wrong.stderr


@pytest.mark.parametrize("command", ["status", "watch --url {url}", "metrics", "completion man", "config"])
def test_head_is_not_complained_about(daemon: Daemon, client: WsClient, command: str) -> None:
    put(client, "/head/x", 1)
    words = command.format(url=daemon.ws_url).split()
    if words[0] in ("status", "metrics"):
        words += ["--set", f"console.socket={daemon.control_path}"]
    shell = ["sh", "-c", '"$0" -m clasp_edge "$@" | head -n 1', sys.executable, *words]
    watched = subprocess.Popen(shell, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert watched.stdout is not None
    assert watched.stdout.readline()
    if words[0] == "watch":
        # It writes again only when something happens.
        for number in range(3):
            put(client, "/head/x", number)
    _, errors = watched.communicate(timeout=20)
    assert errors == ""
