"""Puts the settings in force where the system looks for them: in the memory layer over the root, anew at each start.

Trusts what it is given (settings.py has checked it). Starts nothing: systemd does, where it finds these files.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import socket

from clasp_board import fields, settings
from clasp_board.places import Places
from clasp_board.system import run, write_atomically

DEFAULT_NAME = "clasp-edge"
HOST_KEY = "ssh/ssh_host_ed25519_key"
"""Below the data partition."""

DAEMON_GROUP = "clasp-edge"
WPA_ROUNDS = 4096
"""As WPA prescribes."""


def apply(places: Places, in_force: dict[str, str]) -> None:
    """Write everything that follows from the settings."""
    name = fields.read_host_name(in_force[settings.HOST_NAME]) if settings.HOST_NAME in in_force else DEFAULT_NAME
    write_atomically(places.root / "etc/hostname", f"{name}\n".encode())
    write_atomically(places.root / "etc/hosts", f"127.0.0.1 localhost\n::1 localhost\n127.0.1.1 {name}\n".encode())
    apply_config(places, in_force.get(settings.CONFIG))
    if settings.NETWORK in in_force:
        wired = fields.read_wired(in_force[settings.NETWORK])
        write_atomically(places.root / "etc/systemd/network/10-fixed.network", network_unit(wired).encode())
    if settings.WIFI in in_force:
        wireless = fields.read_wireless(in_force[settings.WIFI])
        target = places.root / "etc/wpa_supplicant/wpa_supplicant-wlan0.conf"
        write_atomically(target, supplicant_config(wireless).encode(), 0o600)
    if settings.KEYS in in_force:
        keys = fields.read_keys(in_force[settings.KEYS])
        directory = places.root / "root/.ssh"
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_atomically(directory / "authorized_keys", "".join(f"{key}\n" for key in keys).encode(), 0o600)
    if places.root == type(places.root)("/"):
        socket.sethostname(name)


def apply_config(places: Places, text: str | None) -> None:
    """Give the daemon the card's configuration, or none; what is in the package holds beside it."""
    if text is None:
        places.daemon_config.unlink(missing_ok=True)
        return
    write_atomically(places.daemon_config, text.encode(), 0o640)
    with contextlib.suppress(LookupError, PermissionError):
        shutil.chown(places.daemon_config, "root", DAEMON_GROUP)


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


def network_unit(wired: fields.Wired) -> str:
    """The fixed address for systemd-networkd."""
    lines = ["[Match]", "Type=ether", "", "[Network]", f"Address={wired.address}"]
    lines += [f"Gateway={wired.gateway}"] if wired.gateway else []
    lines += [f"DNS={server}" for server in wired.name_servers]
    lines += ["MulticastDNS=yes", "IPv6AcceptRA=yes", "LinkLocalAddressing=ipv6", "ConfigureWithoutCarrier=yes"]
    return "\n".join(lines) + "\n"


def supplicant_config(wireless: fields.Wireless) -> str:
    """The networks for wpa_supplicant: names and keys as hexadecimal numbers, so that no sign in them can matter."""
    lines = [f"country={wireless.country}", "p2p_disabled=1", ""]
    for rank, network in enumerate(reversed(wireless.networks)):
        lines += ["network={", f"    ssid={network.name.encode().hex()}", f"    priority={rank}", "    scan_ssid=1"]
        if network.password:
            key = hashlib.pbkdf2_hmac("sha1", network.password.encode(), network.name.encode(), WPA_ROUNDS, 32)
            lines += [f"    psk={key.hex()}", "    key_mgmt=WPA-PSK WPA-PSK-SHA256"]
        else:
            lines.append("    key_mgmt=NONE")
        lines.append("}")
    return "\n".join(lines) + "\n"
