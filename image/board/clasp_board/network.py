"""The files by which systemd-networkd, wpa_supplicant and timesyncd know the networks. Trusts what it is given.

Turns settings into texts; writes nothing.
"""

from __future__ import annotations

import hashlib

from clasp_board.addresses import Fixed
from clasp_board.wired import MAC, Port, Wired
from clasp_board.wireless import Wifi, Wireless

WPA_ROUNDS = 4096
"""As WPA prescribes."""

COMMON = ("MulticastDNS=yes", "IPv6AcceptRA=yes", "ConfigureWithoutCarrier=yes")


def wired_units(wired: Wired) -> dict[str, str]:
    """The files below /etc/systemd/network, by name. Those of the image (70-wired) hold for what none of these says."""
    units: dict[str, str] = {}
    if not wired.ports:
        return units
    tags = {port.match: [p for p in wired.ports if p.match == port.match and p.vlan] for port in wired.ports}
    plain = {port.match: port for port in wired.ports if not port.vlan}
    for match in sorted({*tags, *plain}, key=lambda match: match == ""):
        number = 11 if match == "" else 10  # the first file that matches a socket is the one that counts
        name = f"{number}-{match.replace(':', '') or 'wired'}"
        lines = _match(match) + _network(plain.get(match, Port(match)).fixed)
        lines += [f"VLAN={_vlan_name(port)}" for port in tags.get(match, [])]
        units[f"{name}.network"] = _text(lines, plain.get(match, Port(match)).fixed)
        for port in tags.get(match, []):
            inner = _vlan_name(port)
            units[f"10-{inner}.netdev"] = _text(
                ["[NetDev]", f"Name={inner}", "Kind=vlan", "", "[VLAN]", f"Id={port.vlan}"]
            )
            units[f"09-{inner}.network"] = _text(
                ["[Match]", f"Name={inner}", "Kind=vlan", "", *_network(port.fixed)], port.fixed
            )
    return units


def radio_unit(fixed: Fixed) -> str:
    """The radio's fixed address."""
    return _text(["[Match]", "Type=wlan", "", *_network(fixed)], fixed)


def time_servers(names: list[str]) -> str:
    """The drop-in for timesyncd."""
    return _text(["[Time]", f"NTP={' '.join(names)}"])


def supplicant_config(wireless: Wireless) -> str:
    """The networks for wpa_supplicant: names and keys as hexadecimal numbers, so that no sign in them can matter."""
    lines = [f"country={wireless.country}", "ctrl_interface=/run/wpa_supplicant", "p2p_disabled=1", "sae_pwe=2", ""]
    for rank, network in enumerate(reversed(wireless.networks)):
        lines += ["network={", f"    ssid={network.name.encode().hex()}", f"    priority={rank}", "    scan_ssid=1"]
        lines += [f"    {line}" for line in _keys(network)]
        lines.append("}")
    return _text(lines)


def _keys(network: Wifi) -> list[str]:
    if not network.password:
        return ["key_mgmt=NONE"]
    lines, kinds = [], []
    if network.security != "wpa3":
        kinds += ["WPA-PSK", "WPA-PSK-SHA256"]
        if network.is_key:
            lines.append(f"psk={network.password.lower()}")
        else:
            key = hashlib.pbkdf2_hmac("sha1", network.password.encode(), network.name.encode(), WPA_ROUNDS, 32)
            lines.append(f"psk={key.hex()}")
    if network.security != "wpa2" and not network.is_key:
        kinds.append("SAE")
        lines.append(f"sae_password={network.password.encode().hex()}")
    # Protected management frames: WPA3 does not go without, WPA2 takes them where both have them.
    lines.append("ieee80211w=2" if kinds == ["SAE"] else "ieee80211w=1")
    return [*lines, f"key_mgmt={' '.join(kinds)}"]


def _match(match: str) -> list[str]:
    if MAC.fullmatch(match):
        return ["[Match]", f"PermanentMACAddress={match}", "Kind=!*", ""]
    return ["[Match]", f"Name={match}" if match else "Type=ether", "Kind=!*", ""]


def _network(fixed: Fixed) -> list[str]:
    lines = ["[Network]"]
    if fixed.address:
        lines += [f"Address={fixed.address}", "LinkLocalAddressing=ipv6"]
        lines += [f"Gateway={fixed.gateway}"] if fixed.gateway else []
    else:
        lines += ["DHCP=yes", "LinkLocalAddressing=yes"]
    return [*lines, *(f"DNS={server}" for server in fixed.name_servers), *COMMON]


def _vlan_name(port: Port) -> str:
    """A name that is the box's only one for this tag on this socket; 15 characters are allowed."""
    if not port.match:
        return f"vlan{port.vlan}"
    return f"v{port.vlan}.{hashlib.sha256(port.match.encode()).hexdigest()[:6]}"


def _text(lines: list[str], fixed: Fixed | None = None) -> str:
    if fixed is not None and not fixed.address:
        lines = [*lines, "", "[DHCPv4]", "ClientIdentifier=mac"]
    return "\n".join(lines) + "\n"
