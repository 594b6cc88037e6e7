"""SIGHUP: configured devices come and go, and who may send changes, without a break for the others."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from support.console import ask
from support.daemon import Daemon
from support.live import Crowd, eventually, get, put
from support.osc import Device

NOWHERE = ("127.0.0.1", 9)


def target(name: str, device: Device, pattern: str, **keys: object) -> str:
    more = "".join(f"{key} = {value}\n" for key, value in keys.items())
    return (
        f'[[osc.target]]\nname = "{name}"\nhost = "127.0.0.1"\nport = {device.port}\npatterns = ["{pattern}"]\n{more}'
    )


def reload(daemon: Daemon, text: str) -> str:
    """Write the file, send SIGHUP, and return what the log says about it."""
    seen = len(daemon.stderr)
    (daemon.directory / "clasp-edge.toml").write_text(text)
    daemon.hangup()
    return eventually(lambda: daemon.stderr[seen:] if "reload:" in daemon.stderr[seen:] else "")


@pytest.fixture
def devices() -> Iterator[list[Device]]:
    made = [Device(NOWHERE) for _ in range(3)]
    yield made
    for device in made:
        device.close()


def test_targets_come_change_and_go(devices: list[Device]) -> None:
    stays, changes, comes = devices
    with Daemon(osc=True, config=target("stays", stays, "/osc/**") + target("changes", changes, "/osc/a")) as daemon:
        crowd = Crowd(daemon)
        client = crowd.ws()
        put(client, "/osc/a", 1)
        put(client, "/osc/b", 2)
        assert stays.hear_all(2) == [("/a", [1]), ("/b", [2])]
        assert changes.hear() == ("/a", [1])
        text = (
            target("stays", stays, "/osc/**") + target("changes", changes, "/osc/b") + target("comes", comes, "/osc/*")
        )
        log = reload(daemon, text)
        assert "reload: applied: osc.target" in log
        assert "restart" not in log
        # Who is new or has changed is told how things stand; who has not, nothing.
        assert changes.hear() == ("/b", [2])
        assert sorted(comes.hear_all(2)) == [("/a", [1]), ("/b", [2])]
        put(client, "/osc/a", 3)
        put(client, "/osc/b", 4)
        assert stays.hear_all(2) == [("/a", [3]), ("/b", [4])]
        assert changes.hear() == ("/b", [4])
        assert comes.hear_all(2) == [("/a", [3]), ("/b", [4])]
        reload(daemon, target("comes", comes, "/osc/*"))
        put(client, "/osc/b", 5)
        assert comes.hear() == ("/b", [5])
        assert stays.hears_nothing()
        assert changes.hears_nothing()
        known = ask(daemon.control_path, request="resync", target="stays")["error"]["known"]
        assert known == ["comes"]
        crowd.leave()


def test_a_new_target_knows_its_own_values(devices: list[Device]) -> None:
    """Somebody who has been sending before becomes a target: from then on it does not get its own values back."""
    device, other = devices[0], devices[1]
    with Daemon(osc=True, config=target("other", other, "/osc/**")) as daemon:
        device.router = daemon.osc_address
        device.say("/a", 1)
        assert other.hear() == ("/a", [1])
        reload(daemon, target("other", other, "/osc/**") + target("device", device, "/osc/**"))
        assert device.hear() == ("/a", [1])
        device.say("/a", 2)
        assert other.hear() == ("/a", [2])
        assert device.hears_nothing()
        # And back: a sender like any other.
        reload(daemon, target("other", other, "/osc/**"))
        device.say("/a", 3)
        assert other.hear() == ("/a", [3])
        daemon.assert_healthy()


def test_a_target_whose_host_was_never_found_can_go(devices: list[Device]) -> None:
    lost = '[[osc.target]]\nname = "lost"\nhost = "no-such-host.invalid"\nport = 9\npatterns = ["/**"]\n'
    with Daemon(osc=True, config=lost) as daemon:
        reload(daemon, target("here", devices[0], "/osc/**"))
        crowd = Crowd(daemon)
        put(crowd.ws(), "/osc/a", 1)
        assert devices[0].hear() == ("/a", [1])
        crowd.leave()


def test_who_may_send_changes() -> None:
    with Daemon(osc=True, config="[osc]\nallow = []\n") as daemon:
        crowd = Crowd(daemon)
        client = crowd.ws()
        with Device(daemon.osc_address) as device:
            device.say("/clasp/subscribe", "/**", 60)
            device.hear()
            device.say("/a", 1)
            eventually(lambda: get(client, "/osc/a"))
            assert "applied: osc.allow" in reload(daemon, '[osc]\nallow = ["192.0.2.0/24"]\n')
            device.say("/a", 2)
            eventually(lambda: "refused, osc.allow has no network it is in" in daemon.stderr)
            put(client, "/osc/a", 3)
            assert device.hears_nothing()  # its subscription is gone as well
            reload(daemon, '[osc]\nallow = ["127.0.0.0/8"]\n')
            device.say("/a", 4)
            eventually(lambda: (found := get(client, "/osc/a")) is not None and found.value == 4)
        crowd.leave()


def test_the_rate_changes_for_senders_that_are_there() -> None:
    with Daemon(osc=True, config="[osc]\nmessages_per_second = 0\n") as daemon, Device(daemon.osc_address) as device:

        def counts() -> tuple[int, int]:
            found = ask(daemon.control_path, request="status")["result"]["osc"]
            return found["messages"], found["over_rate"]

        for number in range(100):
            device.say(f"/r/{number}", 1)
        eventually(lambda: counts() == (100, 0))
        reload(daemon, "[osc]\nmessages_per_second = 10\n")
        for number in range(100):
            device.say(f"/r/{number}", 1)
        eventually(lambda: counts()[1] > 50)


def test_scopes_change_for_who_is_there() -> None:
    config = """
    [security]
    mode = "authenticated"
    [[security.token]]
    token = "root"
    scopes = ["admin:/**"]
    [osc]
    scopes = ["write:/osc/a/**"]
    """
    with Daemon(osc=True, config=config) as daemon:
        crowd = Crowd(daemon)
        client = crowd.ws(token="root")
        with Device(daemon.osc_address) as device:
            device.say("/b/1", 1)
            device.say("/a/1", 1)
            eventually(lambda: get(client, "/osc/a/1"))
            assert get(client, "/osc/b/1") is None
            assert "applied: osc.scopes" in reload(daemon, config.replace("/osc/a/**", "/osc/b/**"))
            device.say("/a/1", 2)
            device.say("/b/1", 2)
            eventually(lambda: get(client, "/osc/b/1"))
            param = get(client, "/osc/a/1")
            assert param is not None
            assert param.value == 1
        crowd.leave()


def test_what_needs_a_restart_is_said() -> None:
    with Daemon(osc=True, config="[osc]\n") as daemon:
        log = reload(daemon, '[osc]\nfloats = "exact"\nnamespace = "/other"\ntcp_framing = "length"\n')
        assert "applied: osc.floats" in log
        assert "needs a restart: osc.namespace, osc.tcp_framing" in daemon.stderr


def device(one: Device, **keys: object) -> str:
    more = "".join(f"{key} = {value}\n" for key, value in keys.items())
    return f'[[osc.device]]\nname = "surface"\nsource = "127.0.0.1:{one.port}"\n{more}'


def test_who_has_subscribed_becomes_what_it_is_configured_to_be(devices: list[Device]) -> None:
    """A surface is given a prefix and types while it is used: it is told what it says, in the form it knows."""
    surface, other, third = devices
    with Daemon(osc=True, config=target("another", third, "/osc/**")) as daemon:
        crowd = Crowd(daemon)
        client = crowd.ws()
        for one in (surface, other):
            one.router = daemon.osc_address
            one.say("/clasp/subscribe", "/**")
            assert one.hear() == ("/clasp/subscribed", ["/**", 60])
        put(client, "/osc/left/level", 1)
        assert surface.hear() == other.hear() == ("/left/level", [1])
        own = device(surface, prefix='"/left"', types='{ "/**" = "float" }')
        reload(daemon, own)
        address, (level,) = surface.hear()
        assert (address, level, type(level)) == ("/level", 1.0, float)
        put(client, "/osc/left/level", 2)
        assert surface.hear() == ("/level", [2.0])
        surface.say("/pan", 3)
        eventually(lambda: get(client, "/osc/left/pan"))
        assert other.hear_all(2) == [("/left/level", [2]), ("/left/pan", [3])]
        reload(daemon, own + target("another", third, "/osc/**"))
        put(client, "/osc/left/end", 1)
        # Nobody else is told anything anew, nor is it, what has not changed for it.
        assert surface.hear() == ("/end", [1.0])
        assert other.hear() == ("/left/end", [1])
        reload(daemon, "")
        assert sorted(surface.hear_all(3)) == [("/left/end", [1]), ("/left/level", [2]), ("/left/pan", [3])]
        crowd.leave()


def test_what_a_subscriber_may_read_stays_so_over_a_reload(devices: list[Device]) -> None:
    surface = devices[0]
    own = device(surface, scopes='["read:/osc/mine/**"]')
    with Daemon(osc=True, config=own) as daemon:
        crowd = Crowd(daemon)
        client = crowd.ws()
        surface.router = daemon.osc_address
        surface.say("/clasp/subscribe", "/**")
        assert surface.hear() == ("/clasp/subscribed", ["/**", 60])
        reload(daemon, own + target("another", devices[2], "/osc/**"))
        put(client, "/osc/theirs/level", 1)
        put(client, "/osc/mine/level", 2)
        assert surface.hear() == ("/mine/level", [2])
        crowd.leave()
