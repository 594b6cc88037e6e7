"""What the board's light shows, on a directory that stands for the kernel's."""

from __future__ import annotations

from pathlib import Path

import pytest
from clasp_board import leds
from clasp_board.leds import Leds, Light, has_cable
from clasp_board.places import Places
from clasp_board.problems import add_problem, replace_problem
from clasp_board.watch import PERIOD_S, START_PATIENCE_S, Watch


def light(places: Places, name: str) -> Path:
    """A light as a board's kernel has it, which shows what its card does."""
    directory = places.root / "sys/class/leds" / name
    directory.mkdir(parents=True)
    (directory / "trigger").write_text("none timer [mmc0] heartbeat\n")
    (directory / "brightness").write_text("0\n")
    (directory / "max_brightness").write_text("255\n")
    return directory


def cable(places: Places, name: str = "eth0", carrier: str = "1\n") -> None:
    (places.root / "sys/class/net" / name).mkdir(parents=True, exist_ok=True)
    (places.root / "sys/class/net" / name / "carrier").write_text(carrier)


def shown(directory: Path) -> tuple[str, ...]:
    files = ("trigger", "delay_on", "delay_off", "brightness")
    return tuple((directory / name).read_text().strip() for name in files if (directory / name).exists())


@pytest.mark.parametrize("name", ["ACT", "led0", "green:activity", "user:green:status"])
def test_each_state_is_shown_in_its_way(board: Places, name: str) -> None:
    here = light(board, name)
    lights = Leds(board)
    ways = set()
    for state in Light:
        lights.show(state)
        if state is Light.WELL:
            assert ((here / "trigger").read_text(), (here / "brightness").read_text().strip()) == ("none", "255")
        else:
            assert shown(here)[:3] == ("timer", str(state.value[0]), str(state.value[1]))
        ways.add(shown(here))
    assert len(ways) == len(Light)


@pytest.mark.parametrize("name", ["PWR", "led1", "mmc0::", "input3::capslock", "eth0:green:lan"])
def test_other_lights_are_left_alone(board: Places, name: str) -> None:
    here = light(board, name)
    before = shown(here)
    Leds(board).show(Light.PROBLEM)
    assert shown(here) == before


def test_a_light_whose_driver_comes_later_is_found(board: Places) -> None:
    lights = Leds(board)
    lights.show(Light.PROBLEM)
    here = light(board, "ACT")
    lights.show(Light.PROBLEM)
    assert shown(here)[0] == "timer"


def test_nothing_is_written_while_nothing_changes(board: Places) -> None:
    here = light(board, "ACT")
    lights = Leds(board)
    lights.show(Light.PROBLEM)
    (here / "trigger").write_text("untouched")
    lights.show(Light.PROBLEM)
    assert shown(here)[0] == "untouched"


def test_a_driver_that_is_not_loaded_yet_is_asked_for(board: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    commands: list[tuple[str, ...]] = []
    monkeypatch.setattr(leds, "run", lambda *words: commands.append(words))
    (light(board, "ACT") / "trigger").write_text("none [mmc0]\n")
    Leds(board).show(Light.STARTING)
    assert commands == [("modprobe", "-q", "ledtrig-timer")]


def test_a_light_that_cannot_be_set_hinders_nothing(board: Places, capsys: pytest.CaptureFixture[str]) -> None:
    here = light(board, "ACT")
    for name in ("trigger", "max_brightness"):
        (here / name).unlink()
    Leds(board).show(Light.PROBLEM)
    Leds(board).show(Light.WELL)
    assert "the light ACT cannot be set" in capsys.readouterr().out


def test_a_box_from_its_start_to_a_fault_and_back(board: Places) -> None:
    here = light(board, "ACT")
    now, runs = [0.0], [False]
    watch = Watch(board, lambda: now[0], list, lambda: "", lambda: runs[0], lambda _: False)
    (board.root / "run/systemd/timesync").mkdir(parents=True)
    (board.root / "run/systemd/timesync/synchronized").touch()

    def seen() -> str:
        now[0] += PERIOD_S
        watch.look()
        trigger, *rest = shown(here)
        return (
            next(s.name for s in Light if (trigger, rest[0]) == ("timer", str(s.value[0])))
            if trigger != "none"
            else "WELL"
        )

    try:
        assert seen() == "STARTING"
        runs[0] = True
        assert seen() == "NO_NETWORK"
        cable(board, "lo")
        assert seen() == "NO_NETWORK"
        cable(board)
        assert seen() == "WELL"
        add_problem(board, "something is wrong")
        assert seen() == "PROBLEM"
        cable(board, carrier="0\n")
        assert seen() == "NO_NETWORK"
        cable(board)
        replace_problem(board, "something is wrong", "")
        assert seen() == "WELL"
        runs[0] = False
        now[0] += START_PATIENCE_S
        assert seen() == "PROBLEM"
    finally:
        watch.close()


def test_an_interface_that_is_switched_off_says_nothing(board: Places) -> None:
    (board.root / "sys/class/net/eth0").mkdir(parents=True)
    assert not has_cable(board)
    assert not has_cable(Places(Path("/nowhere")))
