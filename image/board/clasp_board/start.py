"""Gets the box ready before its services start: its disks, what survives, the settings on the card.

The order is the point of this file. Whatever goes wrong becomes a sentence, and the box starts all the same.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from clasp_board import settings
from clasp_board.apply import HOST_KEY, apply, make_host_key
from clasp_board.box_file import FILE as BOX_FILE
from clasp_board.box_file import take_over_box
from clasp_board.clock import set_clock
from clasp_board.disks import mount_disks
from clasp_board.imager import take_over_imager
from clasp_board.leds import Leds, Light
from clasp_board.places import Places, read_fields
from clasp_board.problems import add_problem, publish_problems
from clasp_board.screen import write_early_screen
from clasp_board.system import run, write_atomically

KEPT_DIRECTORIES = (
    ("clasp-edge", "var/lib/clasp-edge"),
    ("timesync", "var/lib/systemd/timesync"),
)
"""Below the data partition, and where programs expect it."""

ROUTER_ID = "clasp-edge/router-id"
"""Below the data partition: made by the router if it is not there."""

FULL_BYTES = 4 << 20


def start(places: Places | None = None) -> int:
    """Do all of it; always 0, because the box must start either way."""
    places = places or Places()
    persistent = False
    Leds(places).show(Light.STARTING)
    try:
        persistent = mount_disks(places)
        if persistent and shutil.disk_usage(places.data).free < FULL_BYTES:
            add_problem(places, "The data partition is full: what is new may not be stored.")
        if persistent:
            know_board(places)
    except OSError as error:
        add_problem(places, f"The card could not be put in order: {error}.")
    report_updates(places)
    try:
        if places.root == Path("/"):
            set_clock(places)
    except (OSError, OverflowError) as error:
        print(f"the clock could not be set: {error}")
    try:
        take_over_box(places, persistent=persistent)
    except Exception as error:
        add_problem(places, f"{BOX_FILE}: could not be taken over: {_said(error)}.")
    try:
        take_over_imager(places)
    except Exception as error:  # whatever a file on the card provokes: the box must start
        add_problem(places, f"What Raspberry Pi Imager has put on the card could not be taken over: {_said(error)}.")
    for kept, place in KEPT_DIRECTORIES:
        if persistent:
            _put_in_place(places, kept, place)
        else:
            _copy(places, kept, place)
    try:
        apply(places, _settings(places, persistent))
        if (places.root / "root/.ssh/authorized_keys").exists():
            make_host_key(places)
    except Exception as error:
        add_problem(places, f"The settings could not be put in force: {_said(error)}.")
    publish_problems(places)
    write_early_screen(places)
    return 0


def _settings(places: Places, persistent: bool) -> dict[str, str]:
    try:
        return settings.take_over(places, persistent)
    except Exception as error:
        add_problem(places, f"The settings on the card could not be read, so those of before hold: {_said(error)}.")
        return settings.kept_settings(places)


def _said(error: Exception) -> str:
    return str(error) or type(error).__name__


def report_updates(places: Places) -> None:
    """Say that the last update was given up, if it was."""
    boot = read_fields(places.boot)
    if boot.get("failed"):
        add_problem(
            places,
            "The last update did not work and was taken back: the box runs the system that it had before. "
            "It stays so until another update is given to it.",
        )


def know_board(places: Places) -> None:
    """Give a card that is in another board than last time new names for the two by which others know the box.

    It may be a copy of a card that is still in use: two boxes with one id would not be let in by the same hub, and each
    could pass for the other by SSH. Raises OSError.
    """
    try:
        board = (places.root / "etc/machine-id").read_text().strip()
    except OSError:
        return
    known = places.data / "board"
    before = known.read_text(errors="replace").strip() if known.exists() else ""
    if not board or board == before:
        return
    if before:
        print("this card comes from another board: the box gets a router id and an SSH host key of its own")
        for of_the_other in (ROUTER_ID, HOST_KEY, f"{HOST_KEY}.pub"):
            (places.data / of_the_other).unlink(missing_ok=True)
    write_atomically(known, f"{board}\n".encode(), 0o600)


def _copy(places: Places, kept: str, place: str) -> None:
    """Where nothing can be stored, begin with a copy in memory of what there is, if memory is large enough."""
    source, target = places.data / kept, places.root / place
    try:
        target.mkdir(parents=True, exist_ok=True)
        size = sum(path.lstat().st_size for path in source.rglob("*"))
        if not source.is_dir() or size > shutil.disk_usage(target).free // 4:
            return
    except OSError:
        return
    done = run("cp", "-a", "-T", source, target)
    if done.returncode:
        add_problem(places, f"What is kept in {kept} could not be read: {done.stdout.strip()}.")


def _put_in_place(places: Places, kept: str, place: str) -> None:
    source, target = places.data / kept, places.root / place
    try:
        source.mkdir(parents=True, exist_ok=True)
        target.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        add_problem(places, f"The directory for {kept} could not be made on the data partition: {error}.")
        return
    done = run("mount", "--bind", source, target)
    if done.returncode:
        add_problem(places, f"What is in {target} will not survive: {done.stdout.strip()}.")
