"""Options changed from the page: checked, tried, kept or taken back; and the support bundle."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import subprocess
import sys
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from console.test_ask import GUARDED, ask
from support.client import WsClient
from support.daemon import Daemon
from support.live import eventually

from clasp_edge.config.manual import options
from clasp_edge.config.model import Config, leaves
from clasp_edge.daemon import settings as settings_module
from clasp_edge.daemon.settings_file import settings_path


@pytest.fixture
def daemon() -> Iterator[Daemon]:
    with Daemon(config="[limits]\nmax_sessions = 77\n") as running:
        yield running


def request(daemon: Daemon, action: str, **more: Any) -> dict[str, Any]:
    """The result of a request that is carried out."""
    status, answer = ask(daemon, {"request": "settings", "action": action, **more})
    assert (status, answer["ok"]) == (200, True), answer
    result: dict[str, Any] = answer["result"]
    return result


def refusal(daemon: Daemon, action: str, **more: Any) -> dict[str, Any]:
    """Why a request is not."""
    _, answer = ask(daemon, {"request": "settings", "action": action, **more})
    assert not answer["ok"]
    error: dict[str, Any] = answer["error"]
    return error


def value(daemon: Daemon, key: str) -> Any:
    """What is in force."""
    return next(each for each in request(daemon, "show")["options"] if each["key"] == key)["value"]


def rewrite(daemon: Daemon, text: str) -> None:
    """Put another configuration into the file."""
    (daemon.directory / "clasp-edge.toml").write_text(text, encoding="utf-8")


def test_a_request_that_the_stop_overtakes_leaves_nothing_behind() -> None:
    async def overtaken() -> None:
        router: Any = SimpleNamespace(loop=asyncio.get_running_loop())
        settings = settings_module.Settings(router, pytest.fail, pytest.fail)
        waits = settings({"action": "undo"})
        assert isinstance(waits, asyncio.Task)
        settings.stop()
        await asyncio.wait([waits])
        assert waits.cancelled()

    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        asyncio.run(overtaken())
        gc.collect()
    assert not [str(one.message) for one in said if "awaited" in str(one.message)]


def test_every_option_that_a_running_router_takes_over_is_described() -> None:
    keys = {option.key for option in options()}
    assert len(keys) > 50
    assert keys <= leaves(Config()).keys()
    assert {"limits.max_sessions", "console.metrics_from", "log.level", "name"} <= keys
    assert not {"security.trust_anchors", "rules.files"} & keys
    assert all(option.help for option in options()), [option.key for option in options() if not option.help]


def test_a_change_is_checked_tried_confirmed_and_kept(daemon: Daemon) -> None:
    changes = {"limits.max_sessions": 50, "name": 'Bühne "links"'}
    checked = request(daemon, "check", changes=changes)
    assert {each["key"]: (each["before"], each["after"]) for each in checked["changes"]} == {
        "limits.max_sessions": ("77", "50"),
        "name": ('"clasp-edge"', '"Bühne \\"links\\""'),
    }
    assert value(daemon, "limits.max_sessions") == 77
    assert request(daemon, "try", changes=changes)["confirm_s"] == settings_module.CONFIRM_S
    assert value(daemon, "limits.max_sessions") == 50
    assert request(daemon, "show")["trial"]["left_s"] > 0
    assert not settings_path(daemon.data_dir).exists()
    # A reload that somebody else asks for keeps the trial.
    assert ask(daemon, {"request": "reload"})[1]["ok"]
    assert value(daemon, "limits.max_sessions") == 50
    request(daemon, "confirm")
    assert request(daemon, "show")["trial"] is None
    daemon.restart()
    assert value(daemon, "limits.max_sessions") == 50
    with WsClient(daemon.ws_url) as client:
        assert client.hello().welcome.name == 'Bühne "links"'
    request(daemon, "try", changes={"limits.max_sessions": None})
    assert value(daemon, "limits.max_sessions") == 77


def test_what_is_taken_back_is_as_before(daemon: Daemon) -> None:
    request(daemon, "try", changes={"limits.max_sessions": 50})
    request(daemon, "try", changes={"name": "other"})
    assert value(daemon, "limits.max_sessions") == 50
    assert request(daemon, "undo") == {"undone": True}
    assert (value(daemon, "limits.max_sessions"), value(daemon, "name")) == (77, "clasp-edge")
    assert request(daemon, "undo") == {"undone": False}
    assert refusal(daemon, "confirm")["code"] == "no-trial"


def test_what_nobody_confirms_takes_itself_back(daemon: Daemon) -> None:
    # Nobody can confirm what shuts out whoever could: that is what it is for.
    request(daemon, "try", changes={"console.metrics_from": ["192.0.2.0/24"]}, confirm_s=1)
    eventually(lambda: ask(daemon, {"request": "settings"})[0] == 200)
    assert refusal(daemon, "confirm")["code"] == "no-trial"
    for wrong in (0, 1e9, True, "1"):
        assert refusal(daemon, "try", changes={"name": "x"}, confirm_s=wrong)["code"] == "bad-request"


def test_what_is_taken_back_goes_while_the_files_are_wrong(daemon: Daemon) -> None:
    request(daemon, "try", changes={"limits.max_sessions": 50})
    request(daemon, "try", changes={"limits.max_subscriptions": 9})
    rewrite(daemon, "[limits]\nmax_sessions = 78\n")
    daemon.hangup()
    eventually(lambda: daemon.stderr.count("reload: applied") >= 3)
    rewrite(daemon, "[limits\n")
    assert request(daemon, "undo") == {"undone": True}
    # What was right last: neither the trial's, nor what the file said at the start.
    eventually(lambda: value(daemon, "limits.max_sessions") == 78)
    assert value(daemon, "limits.max_subscriptions") != 9


def test_a_claim_during_a_trial_stays(daemon: Daemon) -> None:
    request(daemon, "try", changes={"limits.max_sessions": 50})
    claimed = ask(daemon, {"request": "claim", "action": "claim", "networks": ["192.0.2.0/24"]})[1]["result"]
    bearer = {"Authorization": f"Bearer {claimed['admin']}"}
    rewrite(daemon, "[limits\n")
    assert ask(daemon, {"request": "settings", "action": "undo"}, **bearer)[1]["result"] == {"undone": True}
    assert ask(daemon, {"request": "settings", "action": "show"})[0] == 401
    shown = ask(daemon, {"request": "settings", "action": "show"}, **bearer)[1]["result"]["options"]
    assert next(each["value"] for each in shown if each["key"] == "limits.max_sessions") == 77


def test_while_settings_are_read_everybody_else_is_served(daemon: Daemon) -> None:
    # A file that comes as slowly as one of thousands of rules on a board.
    slow = daemon.directory / "conf.d" / "slow.toml"
    slow.parent.mkdir()
    os.mkfifo(slow)
    with ThreadPoolExecutor(2) as others:
        asked = others.submit(request, daemon, "try", changes={"limits.max_sessions": 50})
        with slow.open("w") as late:  # somebody reads it
            undone = others.submit(request, daemon, "undo")
            assert value(daemon, "limits.max_sessions") == 77
            with WsClient(daemon.ws_url) as client:
                assert client.hello().welcome.name
            slow.unlink()
            slow.write_text("")
            late.write("[limits]\nmax_subscriptions = 9\n")
        assert asked.result()["changes"]
        assert undone.result() == {"undone": True}
    assert value(daemon, "limits.max_sessions") == 77


def test_a_router_that_dies_on_trial_comes_back_as_before(daemon: Daemon) -> None:
    request(daemon, "try", changes={"limits.max_sessions": 50})
    daemon.kill()
    daemon.restart()
    assert value(daemon, "limits.max_sessions") == 77


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"limits.max_sessions": -1}, "must be a whole number"),
        ({"limits.max_sessions": "many"}, "limits.max_sessions"),
        ({"limits.max_sessions": 1e400}, ""),
        ({"log.level": "loud"}, "log.level"),
        ({"security.token": []}, "no option"),
        ({"data_dir": "/"}, "no option"),
        ({"websocket.listen": ":1"}, "no option"),
        ({"nmae": "x"}, "no option"),
        ({"name": {"a": 1}}, "a value is"),
        ({"name": 'x"\nlog.level = "debug'}, ""),
        ({}, "1 to"),
        ([], "an object"),
    ],
)
def test_what_is_wrong_is_a_sentence_and_changes_nothing(daemon: Daemon, changes: Any, says: str) -> None:
    if changes == {"name": 'x"\nlog.level = "debug'}:
        # A text with quotes and line ends is a text, and nothing else.
        checked = request(daemon, "check", changes=changes)
        assert [each["key"] for each in checked["changes"]] == ["name"]
        return
    status, answer = ask(daemon, {"request": "settings", "action": "try", "changes": changes})
    assert status == 400 or says in answer["error"]["message"]
    assert request(daemon, "show")["trial"] is None
    assert value(daemon, "limits.max_sessions") == 77


@pytest.mark.parametrize("text", ["limits.max_sessions = -1\n", "not toml", "limits.max_sessions = 1\nlimits = 3\n"])
def test_a_box_with_broken_settings_starts_without_them(daemon: Daemon, text: str) -> None:
    daemon.stop()
    settings_path(daemon.data_dir).write_text(text, encoding="utf-8")
    daemon.restart()
    assert value(daemon, "limits.max_sessions") == 77


def test_the_command_line_is_above_them() -> None:
    with Daemon(sets={"limits.max_subscriptions": 5}) as daemon:
        checked = request(daemon, "check", changes={"limits.max_subscriptions": 9})
        assert checked["changes"] == []


def test_with_tokens_it_is_for_administrators() -> None:
    with Daemon(config=GUARDED) as daemon:
        for name in ("settings", "support", "token", "claim", "box"):
            asked = {"request": name, "action": "show"}
            assert ask(daemon, asked)[0] == 401
            assert ask(daemon, asked, Authorization="Bearer may-read-only")[0] == 401
        assert ask(daemon, {"request": "settings"}, Authorization="Bearer may-do-everything")[1]["ok"]


SECRETS = """
[security]
mode = "authenticated"
[[security.token]]
token = "a-very-secret-token"
scopes = ["admin:/**"]
[uplink.foh]
url = "ws://127.0.0.1:1"
owns = ["/a/**"]
token = "another-secret-token"
[bridge.plant]
brokers = ["mqtt://127.0.0.1:1"]
username = "desk"
password = "the-password"
[[bridge.plant.map]]
topic = "a/#"
address = "/plant/a/**"
direction = "in"
"""


def test_the_support_bundle_has_everything_but_secrets(tmp_path: Path) -> None:
    with Daemon(config=SECRETS) as daemon:
        line = [sys.executable, "-m", "clasp_edge", "support", "--set", f"data_dir={daemon.data_dir}"]
        done = subprocess.run(line, capture_output=True, text=True, timeout=60, check=True)
    bundle = json.loads(done.stdout)
    assert bundle["config"]["security"]["token"][0]["scopes"] == ["admin:/**"]
    assert bundle["config"]["bridge"]["plant"]["username"] == "desk"
    assert bundle["status"]["router"]["version"] == bundle["version"]
    assert any("foh" in each for each in bundle["log"])
    for secret in ("a-very-secret-token", "another-secret-token", "the-password"):
        assert secret not in done.stdout
