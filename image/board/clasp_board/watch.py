"""Looks after the running box: clock, card, name, radio, router. What is wrong is shown, and gone when it is over.

Everything is looked at every few seconds and told where people look (problems.py); params follow by the daemon, which
reads the same files.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

from clasp_board.leds import Leds, Light, has_cable
from clasp_board.places import Places, read_fields
from clasp_board.problems import publish_problems, read_problems, replace_problem
from clasp_board.screen import router_is_open, write_screen
from clasp_board.status import own_addresses, write_status
from clasp_board.supplicant import Radio, Supplicant, power_save_off
from clasp_board.system import daemon_is_active, run

PERIOD_S = 5.0
ASKED_PERIOD_S = 30.0
"""What is asked by programs of their own (name, addresses) costs more than the rest."""

START_PATIENCE_S = 300.0
"""So long a router that is not up yet is taken to be on its way (confirm.py says the rest)."""

CLOCK_PATIENCE_S = 120.0
"""After the start: time servers are asked as soon as there is a network."""

FULL_BYTES = 4 << 20
MOST_WRITES = 30
"""To the card's drive in one run: a radio that comes and goes all night must not wear it."""

INTERFACE = "wlan0"


class Watch:
    """One box under observation."""

    def __init__(
        self,
        places: Places,
        now: Callable[[], float] = time.monotonic,
        addresses: Callable[[], list[str]] = own_addresses,
        name_found: Callable[[], str] | None = None,
        router_runs: Callable[[], bool] = daemon_is_active,
        router_is_open: Callable[[Places], bool] = router_is_open,
    ) -> None:
        self._places = places
        self._now = now
        self._begun_s = now()
        self._addresses = addresses
        self._name_found = name_found or published_name
        self._router_runs = router_runs
        self._router_is_open = router_is_open
        self._is_open = False
        self._leds = Leds(places)
        self._running = False
        self._due_s = self._begun_s
        self._name = ""
        self._shown = list[str]()
        self._told: dict[str, str] = {}
        self._writes = 0
        self._last = ""
        self._disk = read_fields(places.boot).get("disk", "")
        self._supplicant = Supplicant(places.root / "run/wpa_supplicant" / INTERFACE, places.run / "supplicant.sock")

    def look(self) -> None:
        """Look at everything once, and tell what has changed."""
        if self._now() >= self._due_s:
            self._due_s = self._now() + ASKED_PERIOD_S
            self._name, self._shown = self._name_found(), self._addresses()
            self._running = self._router_runs()
            self._is_open = self._running and self._router_is_open(self._places)
        elif not self._running and self._router_runs():
            self._running = True
            self._is_open = self._router_is_open(self._places)
        self._tell("clock", self._clock())
        self._tell("card", self._card())
        self._tell("name", self._same_name())
        radio = self._radio()
        for network in radio.refused:
            self._tell(f"wifi {network}", f'wifi.txt: the network "{network}" refuses the password.')
        for about in [about for about in self._told if about.startswith("wifi ")]:
            if about.removeprefix("wifi ") not in radio.refused:
                self._tell(about, "")
        self._write_state(radio)
        self._leds.show(self._light())
        if self._running or self._light() is not Light.STARTING:
            write_screen(self._places, self._shown, is_open=self._is_open)
        now = "\n".join([*self._shown, *read_problems(self._places)])
        if now != self._last and self._writes < MOST_WRITES and "card" not in self._told:
            self._last = now
            publish_problems(self._places)
            self._writes += write_status(self._places, self._shown)

    def close(self) -> None:
        """Look no more."""
        self._supplicant.close()

    def _tell(self, about: str, sentence: str) -> None:
        before = self._told.get(about, "")
        if sentence == before:
            return
        replace_problem(self._places, before, sentence)
        if sentence:
            self._told[about] = sentence
        else:
            del self._told[about]

    def _light(self) -> Light:
        if not self._running and self._now() - self._begun_s < START_PATIENCE_S:
            return Light.STARTING
        if not self._running:
            return Light.PROBLEM
        if not has_cable(self._places):  # from which other things that are wrong follow, such as the clock
            return Light.NO_NETWORK
        return Light.PROBLEM if read_problems(self._places) else Light.WELL

    def _clock(self) -> str:
        if (self._places.root / "run/systemd/timesync/synchronized").exists():
            return ""
        if self._now() - self._begun_s < CLOCK_PATIENCE_S:
            return ""
        return (
            "The clock has not been set: no time server answers. Times that the box tells are behind by as long as it "
            'was off. "ntp = ..." in network.txt names a time server.'
        )

    def _card(self) -> str:
        if self._disk and not Path(self._disk).exists():
            return "The card has been pulled out: nothing is kept any more. Please put it back and start the box anew."
        try:
            if not os.path.ismount(self._places.data):
                return ""  # what is wrong with it was said at the start
            if os.statvfs(self._places.data).f_flag & os.ST_RDONLY:
                return "The card takes nothing any more (it is worn out or damaged): what is new is not kept."
            if shutil.disk_usage(self._places.data).free < FULL_BYTES:
                return "The data partition is full: what is new may not be stored."
        except OSError:
            return "The card cannot be read any more: nothing is kept. Please replace it."
        return ""

    def _same_name(self) -> str:
        own = read_name(self._places)
        if not self._name or not own or self._name.lower() == own.lower():
            return ""
        return (
            f"Another machine here is called {own}.local, so this box is {self._name}.local until it is given another "
            "name in hostname.txt."
        )

    def _radio(self) -> Radio:
        if not (self._places.root / "run/wpa_supplicant" / INTERFACE).exists():
            return Radio()
        return self._supplicant.look()

    def _write_state(self, radio: Radio) -> None:
        lines = []
        if radio.state:
            lines = [f"wifi/state={radio.state}"]
            lines += [f"wifi/network={radio.network}"] if radio.network else []
            lines += [f"wifi/signal_dbm={radio.signal_dbm}"] if radio.signal_dbm else []
        text = "".join(f"{line}\n" for line in lines)
        path = self._places.run / "state"
        try:
            if (path.read_text() if path.exists() else "") != text:
                path.write_text(text)
        except OSError as error:
            print(f"{path} could not be written: {error}")


def published_name() -> str:
    """The name that multicast DNS really answers to; the resolver takes another where somebody has ours."""
    manager = ("org.freedesktop.resolve1", "/org/freedesktop/resolve1", "org.freedesktop.resolve1.Manager")
    done = run("busctl", "get-property", *manager, "LLMNRHostname", timeout_s=10)
    return done.stdout.partition('"')[2].partition('"')[0] if done.returncode == 0 else ""


def read_name(places: Places) -> str:
    """The name that the box was given."""
    try:
        return (places.root / "etc/hostname").read_text().strip()
    except OSError:
        return ""


def watch(places: Places | None = None) -> int:
    """Look for ever."""
    observed = Watch(places or Places())
    if reason := power_save_off(INTERFACE):
        print(f"{INTERFACE}: power saving stays as it is: {reason}")
    while True:
        observed.look()
        time.sleep(PERIOD_S)
