"""`resync`: a real OSC device sees its values again, and who asks wrongly is told what there is."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from support.console import ask
from support.daemon import Daemon
from support.live import Crowd, put
from support.osc import Device

NOWHERE = ("127.0.0.1", 9)


@pytest.fixture(scope="module")
def desk() -> Iterator[Device]:
    with Device(NOWHERE) as device:
        yield device


@pytest.fixture(scope="module")
def daemon(desk: Device) -> Iterator[Daemon]:
    config = f"""
    [[osc.target]]
    name = "front desk"
    host = "127.0.0.1"
    port = {desk.port}
    patterns = ["/osc/fader/**", "/osc/lamp"]
    [[osc.target]]
    name = "not here yet"
    host = "no-such-host.invalid"
    port = 9000
    patterns = ["/osc/**"]
    """
    with Daemon(osc=True, config=config) as running:
        yield running


@pytest.fixture(scope="module", autouse=True)
def values(daemon: Daemon, desk: Device) -> None:
    """Three values that the desk has been told as they came."""
    crowd = Crowd(daemon)
    client = crowd.ws()
    for address, value in (("/osc/fader/1", 0.25), ("/osc/fader/2", 0.5), ("/osc/lamp", 7), ("/osc/other", 1)):
        put(client, address, value)
    desk.hear_all(3)
    crowd.leave()


WANTED = [("/fader/1", [0.25]), ("/fader/2", [0.5]), ("/lamp", [7])]


def test_a_target_is_sent_its_values_again(daemon: Daemon, desk: Device) -> None:
    for _ in range(2):
        answer = ask(daemon.control_path, request="resync", target="front desk")
        assert answer == {
            "ok": True,
            "result": {"targets": [{"name": "front desk", "patterns": 2, "reachable": True, "initial": True}]},
        }
        assert sorted(desk.hear_all(3)) == WANTED
        assert desk.hears_nothing()


def test_all_of_them(daemon: Daemon, desk: Device) -> None:
    with Device(daemon.osc_address) as asker:
        asker.say("/clasp/subscribe", "/lamp", 60)
        asker.hear_until(("/lamp", [7]))
        asker.renew("/lamp", 60)
        result = ask(daemon.control_path, request="resync", all=True)["result"]
        assert {one["name"]: one["reachable"] for one in result["targets"]} == {
            "front desk": True,
            "not here yet": False,
            f"127.0.0.1:{asker.port}": True,
        }
        assert sorted(desk.hear_all(3)) == WANTED
        assert asker.hear() == ("/lamp", [7])
        asker.say("/clasp/unsubscribe")
        asker.hear()


def test_a_device_that_asked_goes_by_its_address(daemon: Daemon, desk: Device) -> None:
    with Device(daemon.osc_address) as asker, Device(daemon.osc_address) as ear:
        asker.say("/clasp/subscribe", "/fader/*", 60, ear.port)
        ear.hear_all(3)
        asker.say("/clasp/renew", "/fader/*", 60, ear.port)
        ear.hear()
        name = f"127.0.0.1:{ear.port}"
        answer = ask(daemon.control_path, request="resync", target=name)
        assert answer["result"]["targets"] == [{"name": name, "patterns": 1, "reachable": True, "initial": True}]
        assert sorted(ear.hear_all(2)) == WANTED[:2]
        assert asker.hears_nothing()
        assert desk.hears_nothing()
        asker.say("/clasp/unsubscribe")
        asker.hear()
        assert ask(daemon.control_path, request="resync", target=name)["error"]["code"] == "unknown-target"


def test_an_unknown_target_names_the_known_ones(daemon: Daemon) -> None:
    error = ask(daemon.control_path, request="resync", target="back desk")["error"]
    assert error == {
        "code": "unknown-target",
        "message": 'no OSC target "back desk"; there are "front desk", "not here yet"',
        "known": ["front desk", "not here yet"],
    }


@pytest.mark.parametrize("request_", [{}, {"target": 7}, {"target": None}, {"all": "yes"}])
def test_what_does_not_say_whom(daemon: Daemon, request_: dict[str, object]) -> None:
    assert ask(daemon.control_path, request="resync", **request_)["error"]["code"] == "bad-request"


def test_osc_that_is_off() -> None:
    with Daemon() as daemon:
        error = ask(daemon.control_path, request="resync", target="front desk")["error"]
        assert error == {"code": "osc-off", "message": 'OSC is switched off (osc.listen = "off")'}
