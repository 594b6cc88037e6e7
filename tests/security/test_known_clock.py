"""Expiry on a box whose clock is not set: what the last time known says, tokens and certificates, what is told."""

from __future__ import annotations

import json
import os
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from support.certificates import Authority
from support.client import Closed, WsClient
from support.clock_shim import ByClock, ShiftedClock
from support.daemon import Daemon
from support.live import eventually

from clasp_edge import wire
from clasp_edge.security import capability
from clasp_edge.security.known_clock import CLOCK_IS_SET_S, KEPT_EVERY_S, NAME, KnownClock, text_of

DAY_S = 86_400
YEARS_S = 10 * 365 * DAY_S
KNOWN_S = CLOCK_IS_SET_S + 300 * DAY_S


class Stepped(KnownClock):
    """With a wall clock and a time since the boot that a test sets."""

    def __init__(self, directory: Path, wall_s: float, held_up_s: Iterable[float] = ()) -> None:
        """`held_up_s`: how long the process is held up after each of its next looks at the wall clock, last first."""
        self.wall, self.boot, self.right = wall_s, 5.0, False
        self.held_up_s = list(held_up_s)
        super().__init__(directory, lambda: self.right)

    def wall_s(self) -> float:
        found = self.wall
        if self.held_up_s:
            self.wait(self.held_up_s.pop())  # others have the processor now
        return found

    def look(self) -> None:
        super().look()
        written()

    def since_boot_s(self) -> float:
        return self.boot

    def wait(self, seconds: float) -> None:
        """Time passes."""
        self.wall += seconds
        self.boot += seconds


def written() -> None:
    """What is to be written is."""
    for thread in threading.enumerate():
        if thread.name == NAME:
            thread.join(20)


def known(directory: Path, unix_s: float) -> None:
    directory.joinpath(NAME).write_text(text_of(unix_s) + "\n")


def test_a_clock_that_is_right_is_believed_and_kept(tmp_path: Path) -> None:
    clock = Stepped(tmp_path, KNOWN_S)
    clock.look()
    assert (clock.doubted, clock.fault(), clock.believed_s()) == (False, None, KNOWN_S)
    assert (tmp_path / NAME).read_text() == text_of(KNOWN_S) + "\n"
    clock.wait(KEPT_EVERY_S - 1)
    clock.look()
    assert (tmp_path / NAME).read_text() == text_of(KNOWN_S) + "\n"  # not oftener: it is a card
    clock.wait(2)
    clock.look()
    assert (tmp_path / NAME).read_text() == text_of(KNOWN_S + KEPT_EVERY_S + 1) + "\n"


def test_time_goes_on_from_the_last_known(tmp_path: Path) -> None:
    known(tmp_path, KNOWN_S)
    clock = Stepped(tmp_path, 0)
    clock.wait(100)
    assert (clock.doubted, clock.unknown, clock.believed_s()) == (True, False, KNOWN_S + 100)
    assert text_of(KNOWN_S) in (clock.fault() or "")


@pytest.mark.parametrize("at_the_end", [False, True])
def test_time_adds_up_over_many_runs_of_a_box_whose_clock_is_never_set(at_the_end: bool, tmp_path: Path) -> None:
    known(tmp_path, KNOWN_S)
    for run in range(1, 25):
        clock = Stepped(tmp_path, 0)
        for _ in range(4):
            clock.wait(KEPT_EVERY_S)
            if not at_the_end:
                clock.look()  # and then the plug is pulled
        if at_the_end:
            clock.keep()
        assert clock.doubted
        assert clock.believed_s() == KNOWN_S + run * 4 * KEPT_EVERY_S
        assert (tmp_path / NAME).read_text() == text_of(clock.believed_s()) + "\n"
    # What was counted is no reason not to believe somebody who sets the clock back.
    clock.wall = KNOWN_S + 60
    clock.look()
    assert (clock.doubted, clock.believed_s()) == (False, KNOWN_S + 60)
    assert (tmp_path / NAME).read_text() == text_of(KNOWN_S + 60) + "\n"


def test_who_is_held_up_between_two_readings_has_not_set_the_clock(tmp_path: Path) -> None:
    known(tmp_path, KNOWN_S)
    clock = Stepped(tmp_path, 0)
    for seconds in (3.0, 0.9, 600.0):
        clock.held_up_s = [seconds] * 3
        assert clock.believed_s() >= KNOWN_S
        while clock.held_up_s:
            assert clock.doubted
        assert clock.doubted
    clock.wall += 2
    assert not clock.doubted


@pytest.mark.parametrize("times", [1, 2, 3, 20])
def test_who_is_held_up_at_the_start_has_not_set_the_clock(times: int, tmp_path: Path) -> None:
    known(tmp_path, KNOWN_S)
    clock = Stepped(tmp_path, 0, [5.0] * times)
    while clock.held_up_s:
        assert clock.doubted
    assert clock.doubted
    clock.wall += 2
    assert not clock.doubted


def test_the_time_is_written_for_its_owner_and_to_the_card_and_beside_the_loop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[threading.Thread] = []
    card_answers = threading.Event()

    def fsync(file: int) -> None:
        card_answers.wait(20)
        real(file)
        synced.append(threading.current_thread())

    real = os.fsync
    monkeypatch.setattr(os, "fsync", fsync)
    clock = Stepped(tmp_path, KNOWN_S)
    KnownClock.look(clock)  # returns, though the card does not answer
    assert not synced
    card_answers.set()
    written()
    assert synced
    assert threading.current_thread() not in synced
    assert (tmp_path / NAME).stat().st_mode & 0o777 == 0o600
    clock.wait(60)
    synced.clear()
    clock.keep()  # the process ends: no thread would come to its end
    assert threading.current_thread() in synced
    assert (tmp_path / NAME).read_text() == text_of(KNOWN_S + 60) + "\n"
    assert [path.name for path in tmp_path.iterdir()] == [NAME]


def test_what_is_late_does_not_replace_what_is_newer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    late: list[threading.Thread] = []

    def start(thread: threading.Thread) -> None:
        late.append(thread)

    clock = Stepped(tmp_path, KNOWN_S)
    monkeypatch.setattr(threading.Thread, "start", start)
    KnownClock.look(clock)
    clock.wait(60)
    clock.keep()
    for thread in late:
        thread.run()
    assert len(late) == 1
    assert (tmp_path / NAME).read_text() == text_of(KNOWN_S + 60) + "\n"


def test_a_clock_that_was_never_set_is_unknown(tmp_path: Path) -> None:
    clock = Stepped(tmp_path, 100)
    clock.keep()
    assert (clock.doubted, clock.unknown, clock.believed_s()) == (True, True, CLOCK_IS_SET_S)
    assert not (tmp_path / NAME).exists()


@pytest.mark.parametrize("by", ["a person", "NTP"])
@pytest.mark.parametrize("then_s", [KNOWN_S - DAY_S, KNOWN_S + DAY_S])
def test_a_clock_that_was_set_is_believed_backwards_too(by: str, then_s: float, tmp_path: Path) -> None:
    known(tmp_path, KNOWN_S)
    clock = Stepped(tmp_path, 0)
    clock.look()
    assert clock.doubted
    clock.wall, clock.right = then_s, by == "NTP"
    clock.look()
    assert (clock.doubted, clock.believed_s()) == (False, then_s)
    assert (tmp_path / NAME).read_text() == text_of(then_s) + "\n"


def test_what_was_kept_from_a_wrong_clock_is_not_for_ever(tmp_path: Path) -> None:
    known(tmp_path, KNOWN_S + YEARS_S)
    clock = Stepped(tmp_path, KNOWN_S)
    assert clock.believed_s() == KNOWN_S + YEARS_S
    clock.right = True
    clock.look()
    assert clock.believed_s() == KNOWN_S
    assert Stepped(tmp_path, KNOWN_S).doubted is False


def test_a_minute_backwards_is_a_correction(tmp_path: Path) -> None:
    known(tmp_path, KNOWN_S)
    assert not Stepped(tmp_path, KNOWN_S - 30).doubted


@pytest.mark.parametrize("text", ["", "yesterday", "2026-13-01 00:00:00Z", "9" * 70, "1969-01-01 00:00:00Z"])
def test_a_damaged_file_is_no_knowledge(text: str, tmp_path: Path) -> None:
    (tmp_path / NAME).write_text(text)
    assert Stepped(tmp_path, 100).unknown


def test_a_file_that_cannot_be_written_harms_nobody(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    clock = Stepped(tmp_path / "file", KNOWN_S)
    clock.look()
    assert clock.believed_s() == KNOWN_S


# ---- through public doors ----


@pytest.fixture
def clock(tmp_path: Path) -> Iterator[ShiftedClock]:
    found = ShiftedClock(tmp_path)
    found.claim_synchronised(synchronised=False)
    yield found
    found.close()


def command(daemon: Daemon, *words: str, clock: ShiftedClock | None = None) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "clasp_edge", *words, "--set", f"data_dir={daemon.data_dir}"]
    environment = None if clock is None else {"PATH": "/usr/bin:/bin"} | clock.environment
    return subprocess.run(line, capture_output=True, text=True, timeout=60, check=False, env=environment)


def made(daemon: Daemon, name: str, *more: str) -> str:
    done = command(daemon, "token", "new", name, "--scope", "admin:/**", *more)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def answer_to(daemon: Daemon, token: str) -> int:
    """The code of the refusal; 0 for who gets in."""
    with WsClient(daemon.ws_url) as client:
        client.send(wire.Hello(1, "client", (), token=token))
        message = client.recv(timeout=20)
    return int(message.code) if isinstance(message, wire.Error) else 0


def errors_until_closed(client: WsClient) -> list[int]:
    """Read until the router closes."""
    found: list[int] = []
    try:
        while True:
            message = client.recv(timeout=20)
            if isinstance(message, wire.Error):
                found.append(message.code)
    except Closed:
        return found


def test_tokens_of_a_box_whose_clock_is_lost(clock: ShiftedClock) -> None:
    seed = bytes(range(32))
    anchor = capability.key_text(capability.public_key(seed))
    now_s = int(datetime.now(UTC).timestamp())
    short, long = (
        capability.encode(capability.create(seed, ["read:/**"], now_s + seconds)) for seconds in (3600, 30 * DAY_S)
    )
    config = f'[security]\nmode = "authenticated"\ntrust_anchors = ["{anchor}"]\n'
    stopped = Daemon(config=config, manager=ByClock(clock))
    hour, month = made(stopped, "hour", "--expires", "1h"), made(stopped, "month", "--expires", "30d")
    with stopped as daemon:
        assert [answer_to(daemon, token) for token in (hour, short, month, long)] == [0, 0, 0, 0]
        # The battery is empty: at the next start it is two hours later, and nothing tells so but the card.
        clock.shift(2 * 3600)
        daemon.hangup()
        eventually(lambda: text_of(now_s + 7200)[:13] in (daemon.data_dir / NAME).read_text())
        daemon.stop()
        clock.shift(-YEARS_S)
        daemon.start()
        assert "the clock is not set: it shows 201" in daemon.stderr
        assert [answer_to(daemon, token) for token in (hour, short, month, long)] == [302, 302, 0, 0]
        status = json.loads(command(daemon, "status", "--json").stdout)
        assert status["clock"]["set"] is False
        assert "the clock is not set" in command(daemon, "status").stdout
        warned = command(daemon, "token", "new", "later", "--scope", "read:/**", "--expires", "1d")
        assert "warning: the clock is not set" in warned.stderr
        assert answer_to(daemon, warned.stdout.strip()) == 0
        # Somebody sets the clock: what has expired meanwhile ends.
        with WsClient(daemon.ws_url) as client:
            client.send(wire.Hello(1, "client", (), token=month))
            assert isinstance(client.recv(timeout=20), wire.Welcome)
            clock.shift(31 * DAY_S)
            daemon.hangup()
            assert wire.ErrorCode.TOKEN_EXPIRED in errors_until_closed(client)
        assert "the clock was set to" in daemon.stderr
        assert [answer_to(daemon, token) for token in (month, long, warned.stdout.strip())] == [302, 302, 302]
        assert json.loads(command(daemon, "status", "--json").stdout)["clock"]["set"] is True


def test_no_expiry_is_counted_from_1970(clock: ShiftedClock, tmp_path: Path) -> None:
    clock.shift(-YEARS_S)
    daemon = Daemon(manager=ByClock(clock))
    for running in (False, True):
        if running:
            daemon.start()
        where = None if running else clock
        refused = command(daemon, "token", "new", "a", "--scope", "read:/**", "--expires", "30d", clock=where)
        assert refused.returncode == 1
        assert "clock was never set" in refused.stderr
        assert command(daemon, "token", "new", f"b{running}", "--scope", "read:/**", clock=where).returncode == 0
    daemon.stop()
    daemon.close()
    key = str(tmp_path / "key")
    assert command(daemon, "token", "cap", "key", key).returncode == 0
    refused = command(
        daemon, "token", "cap", "create", "--key", key, "--scope", "read:/**", "--expires", "1d", clock=clock
    )
    assert refused.returncode == 1
    assert "clock of this machine is not set" in refused.stderr


UPLINK = '[uplink.hub]\nurl = "wss://127.0.0.1:{port}"\ntls_ca = "{ca}"\nowns = ["/box/**"]\n'


@pytest.mark.parametrize("expired", [False, True])
def test_the_hubs_certificate_by_the_last_time_known(expired: bool, clock: ShiftedClock, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    chain, key = authority.issue("hub")  # for a day
    sets = {"websocket.tls_listen": "127.0.0.1:0", "tls.certificate": str(chain), "tls.key": str(key)}
    clock.shift(-YEARS_S)
    with Daemon(sets=sets) as hub:
        port = hub.address_pair("wss")[1]
        box = Daemon(config=UPLINK.format(port=port, ca=authority.certificate), manager=ByClock(clock))
        box.data_dir.mkdir(parents=True, exist_ok=True)
        last = datetime.now(UTC) + timedelta(days=2 if expired else 0)
        known(box.data_dir, last.timestamp())
        with box:
            wanted = "the certificate has expired on" if expired else "uplink hub: connected to"
            eventually(lambda: wanted in box.stderr, 25)


def test_clients_certificates_by_the_last_time_known(clock: ShiftedClock, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    chain, key = authority.issue("router")
    sets = {
        "websocket.tls_listen": "127.0.0.1:0",
        "tls.certificate": str(chain),
        "tls.key": str(key),
        "tls.client_ca": str(authority.certificate),
    }
    clock.shift(-YEARS_S)
    daemon = Daemon(sets=sets, manager=ByClock(clock))
    daemon.data_dir.mkdir(parents=True, exist_ok=True)
    for expired in (False, True):
        last = datetime.now(UTC) + timedelta(days=2 if expired else 0)
        known(daemon.data_dir, last.timestamp())
        daemon.start()
        port = daemon.address_pair("wss")[1]
        context = ssl.create_default_context(cafile=str(authority.certificate))
        context.load_cert_chain(*authority.issue("client"))
        if expired:
            with pytest.raises((OSError, Closed)), WsClient(f"wss://127.0.0.1:{port}", ssl=context) as client:
                client.recv(timeout=20)
            eventually(lambda: "the certificate has expired on" in daemon.stderr, 25)
        else:
            with WsClient(f"wss://127.0.0.1:{port}", ssl=context) as client:
                client.send(wire.Hello(1, "client", ()))
                assert isinstance(client.recv(timeout=20), wire.Welcome)
        daemon.stop()
    daemon.close()
