"""The board's own light shows how the box is, for whoever has neither screen nor network at hand.

Knows the kernel's files for lights (Documentation/leds/leds-class.rst) and the four states; not how a state is found
out. The kernel blinks by itself, so nothing is written but when the state changes.
"""

from __future__ import annotations

import os
from enum import Enum
from pathlib import Path

from clasp_board.places import Places
from clasp_board.system import run

NAMES = ("ACT", "led0", "activity", "status", "act")
"""What the light that is ours is called: "ACT" on Raspberry Pis, COLOUR:FUNCTION elsewhere. Never the one for power."""

TIMER = "timer"


class Light(Enum):
    """What is shown: milliseconds on and off. A light that goes off for no time is steady."""

    STARTING = (100, 900)
    WELL = (1, 0)
    NO_NETWORK = (1000, 1000)
    PROBLEM = (200, 200)


class Leds:
    """The lights of this board; none is right too."""

    def __init__(self, places: Places) -> None:
        self._places = places
        self._shown: Light | None = None
        self._lights = list[Path]()

    def show(self, light: Light) -> None:
        """Have it shown from now on. A light that cannot be written to stays as it is."""
        lights = self._found()
        if light is self._shown and lights == self._lights:
            return
        self._shown, self._lights = light, lights
        for one in lights:
            try:
                _set(one, *light.value)
            except OSError as error:
                print(f"the light {one.name} cannot be set: {error}")

    def _found(self) -> list[Path]:
        """Looked for each time, since the driver may come later than this program."""
        directory = self._places.root / "sys/class/leds"
        try:
            names = sorted(os.listdir(directory))
        except OSError:
            return []
        return [directory / name for name in names if name.rsplit(":", 1)[-1] in NAMES]


def _set(light: Path, on_ms: int, off_ms: int) -> None:
    if not off_ms:
        (light / "trigger").write_text("none")
        (light / "brightness").write_text((light / "max_brightness").read_text())
        return
    if TIMER not in (light / "trigger").read_text().replace("[", " ").replace("]", " ").split():
        run("modprobe", "-q", "ledtrig-timer")
    (light / "trigger").write_text(TIMER)
    (light / "delay_on").write_text(str(on_ms))
    (light / "delay_off").write_text(str(off_ms))


def has_cable(places: Places) -> bool:
    """Whether a cable or a radio network is connected to the box."""
    directory = places.root / "sys/class/net"
    try:
        names = os.listdir(directory)
    except OSError:
        return False
    return any(_carrier(directory / name) for name in names if name != "lo")


def _carrier(interface: Path) -> bool:
    try:
        return (interface / "carrier").read_text().strip() == "1"
    except OSError:  # one that is switched off does not say
        return False
