"""Puts the settings in force where the system looks for them: in the memory layer over the root, anew at each start.

Trusts what it is given (settings.py has checked it). Starts nothing: systemd does, where it finds these files.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
from pathlib import Path

from clasp_board import fields, network, settings, wired, wireless
from clasp_board.daemon_files import OWN, daemon_files
from clasp_board.places import Places
from clasp_board.system import run, write_atomically

DEFAULT_NAME = "clasp-edge"
"""With four digits behind it that are the board's: two boxes as they come do not get in each other's way."""

ZONES = "usr/share/zoneinfo"
HOST_KEY = "ssh/ssh_host_ed25519_key"
"""Below the data partition."""

DAEMON_GROUP = "clasp-edge"


def apply(places: Places, in_force: dict[str, str]) -> None:
    """Write everything that follows from the settings."""
    name = host_name(places, in_force)
    write_atomically(places.root / "etc/hostname", f"{name}\n".encode())
    write_atomically(places.root / "etc/hosts", f"127.0.0.1 localhost\n::1 localhost\n127.0.1.1 {name}\n".encode())
    apply_daemon_files(places, in_force)
    if settings.NETWORK in in_force:
        apply_network(places, wired.read_wired(in_force[settings.NETWORK]))
    if settings.WIFI in in_force:
        radio = wireless.read_wireless(in_force[settings.WIFI])
        target = places.root / "etc/wpa_supplicant/wpa_supplicant-wlan0.conf"
        write_atomically(target, network.supplicant_config(radio).encode(), 0o600)
        if radio.fixed.address or radio.fixed.name_servers:
            unit = network.radio_unit(radio.fixed)
            write_atomically(places.root / "etc/systemd/network/12-radio.network", unit.encode())
    if settings.KEYS in in_force:
        keys = fields.read_keys(in_force[settings.KEYS])
        directory = places.root / "root/.ssh"
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_atomically(directory / "authorized_keys", "".join(f"{key}\n" for key in keys).encode(), 0o600)
    if places.root == type(places.root)("/"):
        socket.sethostname(name)


def host_name(places: Places, in_force: dict[str, str]) -> str:
    """The box's name in the network."""
    if settings.HOST_NAME in in_force:
        return fields.read_host_name(in_force[settings.HOST_NAME])
    try:
        identity = (places.root / "etc/machine-id").read_text().strip()
    except OSError:
        identity = ""
    return f"{DEFAULT_NAME}-{identity[:4]}" if len(identity) == 32 and identity.isalnum() else DEFAULT_NAME


def apply_network(places: Places, found: wired.Wired) -> None:
    """Addresses, tags, time servers and time zone."""
    for name, unit in network.wired_units(found).items():
        write_atomically(places.root / "etc/systemd/network" / name, unit.encode())
    if found.ntp:
        drop_in = places.root / "etc/systemd/timesyncd.conf.d/50-board.conf"
        write_atomically(drop_in, network.time_servers(found.ntp).encode())
    if found.timezone:
        link = places.root / "etc/localtime"
        link.unlink(missing_ok=True)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(f"/{ZONES}/{found.timezone}")


def apply_daemon_files(places: Places, in_force: dict[str, str]) -> None:
    """Give the daemon the card's configuration, certificates and rules; what is in the package holds beside them."""
    for path, text in daemon_files(in_force, places.daemon_directory).items():
        _give_to_daemon(places.daemon_directory / path, text)


def apply_config(places: Places, text: str | None) -> None:
    """Give the daemon another clasp-edge.toml, or none."""
    if text is None:
        (places.daemon_directory / OWN).unlink(missing_ok=True)
    else:
        _give_to_daemon(places.daemon_directory / OWN, text)


def _give_to_daemon(path: Path, text: str) -> None:
    write_atomically(path, text.encode(), 0o640)
    with contextlib.suppress(LookupError, PermissionError):
        shutil.chown(path.parent, "root", DAEMON_GROUP)
        shutil.chown(path, "root", DAEMON_GROUP)


def make_host_key(places: Places) -> None:
    """The box's own key for SSH, made once; needed only where somebody may log in. Raises OSError."""
    key = places.data / HOST_KEY
    if key.exists() and run("ssh-keygen", "-y", "-P", "", "-f", key).returncode == 0:
        return  # a power cut while it was made leaves one that is empty or cut short
    key.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    key.unlink(missing_ok=True)
    done = run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", key)
    if done.returncode:
        raise OSError(f"the box's key for SSH could not be made: {done.stdout.strip()}")
    os.sync()
