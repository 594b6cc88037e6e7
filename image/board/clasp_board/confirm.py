"""Watches over the first minutes: keeps a new system or configuration if the daemon is well, takes it back if not.

Healthy means: active to systemd, which it is only with all listeners bound and the journal restored, and still so a
while later. For a system on trial it also means that it reaches its gateway or a neighbour, if the one before did.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from clasp_board import secrets, settings
from clasp_board.apply import apply_config
from clasp_board.daemon_files import CONFIG
from clasp_board.kernels import are_whole, has_kernels, let_firmware_start, started_by_firmware
from clasp_board.network_health import forget_network, network_is_as_before
from clasp_board.places import Places, read_fields
from clasp_board.problems import add_problem, publish_problems, replace_problem
from clasp_board.slots import read_state, write_state
from clasp_board.system import UNIT, daemon_is_active, run, writable, write_atomically

STEADY_S = 20
"""A daemon that fails does so within its first seconds; its watchdog bites after 15."""

PATIENCE_S = 300
"""A Raspberry Pi needs a few seconds; an emulated board has needed 100."""

LATE_S = 3600
"""So long it may come up after all: with a large journal on an old card, or put right by hand."""

POLL_S = 2


def confirm(
    places: Places | None = None,
    healthy: Callable[[], bool] | None = None,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> int:
    """Wait for the verdict, and act on it. Returns 0 when the box is well, 1 when something was taken back."""
    places = places or Places()
    boot = read_fields(places.boot)
    trying = boot.get("trying", "")
    if trying != boot.get("booted"):
        trying = ""  # what does not run has not shown that it works
    asked = healthy or daemon_is_active
    well = wait_until_steady(asked, clock, sleep)
    if well and trying:
        well = wait_until_reached(places, clock, sleep)
    probation = places.accepted / (CONFIG + settings.BEFORE)
    if well:
        if trying:
            keep_system(places, trying)
        keep_kernel(places)
        try:
            probation.unlink(missing_ok=True)
        except OSError as error:
            print(f"the end of the probation could not be stored: {error}")
        return 0
    if trying:
        # Nothing is written: the first stage takes an unconfirmed system back by itself.
        print("the new system is not well; the old one is started")
        run("systemctl", "reboot")
        return 1
    if probation.exists():
        take_config_back(places)
        run("systemctl", "reset-failed", UNIT)
        run("systemctl", "restart", "--no-block", UNIT)
        publish_problems(places)
        return 1
    sentence = f"The router does not start. It says: {last_words()}"
    add_problem(places, sentence)
    publish_problems(places)
    if not wait_until_steady(asked, clock, sleep, LATE_S):
        return 1
    replace_problem(places, sentence, "")
    publish_problems(places)
    keep_kernel(places)
    print("the router has started after all")
    return 0


def wait_until_steady(
    healthy: Callable[[], bool],
    clock: Callable[[], float],
    sleep: Callable[[float], None],
    patience_s: float = PATIENCE_S,
) -> bool:
    """Whether the daemon has become and stayed healthy in time."""
    begun = clock()
    since: float | None = None
    while clock() - begun < patience_s:
        if not healthy():
            since = None
        elif since is None:
            since = clock()
        elif clock() - since >= STEADY_S:
            return True
        sleep(POLL_S)
    return False


def wait_until_reached(places: Places, clock: Callable[[], float], sleep: Callable[[float], None]) -> bool:
    """Whether somebody answers in time, if somebody did before the update."""
    begun = clock()
    while not network_is_as_before(places):
        if clock() - begun >= PATIENCE_S:
            print("the new system reaches neither gateway nor neighbour, which the one before did")
            return False
        sleep(POLL_S)
    return True


def last_words() -> str:
    """The end of what the daemon has logged."""
    lines = run("journalctl", "-t", "clasp-edge", "-n", "2", "-o", "cat", "--no-pager").stdout.strip().splitlines()
    return " / ".join(lines) or "nothing."


def keep_system(places: Places, slot: str) -> None:
    """From now on `slot` is started."""
    try:
        with writable(places.firmware):
            write_state(places.slot_state, read_state(places.slot_state).confirmed(slot))
    except OSError as error:
        add_problem(places, f"The update works, but could not be kept: {error}. The next start takes it back.")
        publish_problems(places)
        return
    boot = places.boot.read_text().replace(f"trying={slot}", "trying=").splitlines()
    places.boot.write_text("\n".join(f"slot={slot}" if line.startswith("slot=") else line for line in boot) + "\n")
    forget_network(places)
    print(f"system {slot} works and is kept")


def keep_kernel(places: Places) -> None:
    """Have the firmware start the kernel of the system that is kept and runs. Until it does, the first stage does."""
    booted = read_fields(places.boot).get("booted", "")
    try:
        if not has_kernels(places) or read_state(places.slot_state).slot != booted:
            return
        if started_by_firmware(places) in ("", booted) or not are_whole(places, booted):
            return
        with writable(places.firmware):
            let_firmware_start(places, booted)
    except OSError as error:
        add_problem(places, f"config.txt could not be written, so the box starts more slowly: {error}.")
        publish_problems(places)


def take_config_back(places: Places) -> None:
    """The configuration before the new one; of the new one the daemon's last words remain."""
    probation = places.accepted / (CONFIG + settings.BEFORE)
    kept = places.accepted / CONFIG
    before = probation.read_text()
    add_problem(
        places,
        f"{CONFIG}: the router does not start with it, so the configuration of before is in force again. "
        f"The router said: {last_words()}",
    )
    apply_config(places, secrets.fill_toml(before)[0] if before else None)
    try:
        if kept.exists():  # for the secrets in it, which are not on the card any more
            refused = places.accepted / (CONFIG + settings.REFUSED)
            write_atomically(refused, kept.read_bytes(), settings.PRIVATE)
        if before:
            write_atomically(kept, before.encode(), settings.PRIVATE)
        else:
            kept.unlink(missing_ok=True)
        probation.unlink()
    except OSError as error:
        add_problem(places, f"{CONFIG}: that could not be stored ({error}); the next start tries it once more.")
