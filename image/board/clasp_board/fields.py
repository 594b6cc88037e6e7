"""The small settings files on the card: what each may contain, and what is wrong with one that somebody has edited.

Every `read_...` takes a file's text and returns its meaning, or raises ValueError with a sentence that names the line.
Writes nothing and asks nothing of the system.
"""

from __future__ import annotations

import base64
import binascii
import ipaddress
import re
from dataclasses import dataclass, field

HOST_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
KEY_TYPES = ("ssh-ed25519", "ssh-rsa", "ecdsa-sha2-", "sk-ssh-ed25519@openssh.com", "sk-ecdsa-sha2-")

WIFI_NAME_BYTES = 32
QUOTES = ('""', "''", "“”", "„“", "‘’", "‚‘", "«»", "””")  # noqa: RUF001
"""What may stand around a value; editors on laptops turn straight ones into others."""

WIFI_PASSWORD = range(8, 64)
"""Lengths that WPA allows."""


@dataclass(frozen=True)
class Wifi:
    """One wireless network."""

    name: str
    password: str = ""
    """Empty: an open network."""


@dataclass(frozen=True)
class Wireless:
    """The country, and the networks in the order of preference."""

    country: str
    networks: list[Wifi] = field(default_factory=list)


@dataclass(frozen=True)
class Wired:
    """A fixed address for the network socket."""

    address: str
    gateway: str = ""
    name_servers: list[str] = field(default_factory=list)


def decode(raw: bytes) -> str:
    """The text of a file as editors on any system write it. Raises ValueError if it is no text."""
    if raw[:2] in (b"\xff\xfe", b"\xfe\xff"):
        encoding = "utf-16"
    else:
        encoding = "utf-8-sig"
    try:
        text = raw.decode(encoding)
    except UnicodeDecodeError:
        raise ValueError("this is not a text file, or it is damaged; please save it as plain text (UTF-8)") from None
    if "\0" in text:
        raise ValueError("this is not a text file, or it is damaged; please write it anew")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def says_nothing(text: str) -> bool:
    """Whether there are only comments and empty lines."""
    return not any(_content(text))


def read_host_name(text: str) -> str:
    """The box's name."""
    lines = list(_content(text))
    if len(lines) != 1:
        raise ValueError("only one line with the name is allowed")
    number, line = lines[0]
    name = line.lower().removesuffix(".local")
    if not HOST_NAME.fullmatch(name) or name == "localhost":
        raise ValueError(f'line {number}: "{line}" cannot be a name: 1 to 63 letters a-z, digits and "-", no spaces')
    return name


def read_wireless(text: str) -> Wireless:
    """Country and networks."""
    country, networks = "", list[Wifi]()
    for number, key, value in _pairs(text, ("country", "name", "password")):
        if key == "country":
            country = value.upper()
            if not re.fullmatch(r"[A-Z]{2}", country):
                raise ValueError(f'line {number}: the country is two letters, for example DE, not "{value}"')
        elif key == "name":
            if not 1 <= len(value.encode()) <= WIFI_NAME_BYTES:
                raise ValueError(f"line {number}: the name of a network has 1 to {WIFI_NAME_BYTES} characters")
            networks.append(Wifi(value))
        else:
            if not networks or networks[-1].password:
                raise ValueError(f'line {number}: a "password" must follow the "name" of its network')
            if value and (len(value) not in WIFI_PASSWORD or not value.isascii() or not value.isprintable()):
                raise ValueError(
                    f"line {number}: a wireless password has 8 to 63 letters, digits and signs; none with accents"
                )
            networks[-1] = Wifi(networks[-1].name, value)
    if not networks:
        raise ValueError('there is no line "name = ..." with the name of a network')
    if not country:
        raise ValueError('the line "country = ..." is missing; without it the radio stays off')
    return Wireless(country, networks)


def read_wired(text: str) -> Wired:
    """Fixed address."""
    found: dict[str, str] = {}
    for number, key, value in _pairs(text, ("address", "gateway", "dns")):
        if key in found:
            raise ValueError(f'line {number}: "{key}" stands there twice')
        try:
            if key == "address":
                if "/" not in value:
                    raise ValueError
                found[key] = str(ipaddress.ip_interface(value))
            else:
                found[key] = " ".join(str(ipaddress.ip_address(part)) for part in re.split(r"[,\s]+", value))
        except ValueError:
            example = "192.168.1.20/24" if key == "address" else "192.168.1.1"
            raise ValueError(f'line {number}: "{value}" is not right; it should look like {example}') from None
    if "address" not in found:
        raise ValueError('the line "address = ..." is missing')
    return Wired(found["address"], found.get("gateway", ""), found.get("dns", "").split())


def check_wired(wired: Wired) -> None:
    """Whether others can reach this box, and it them. Raises ValueError."""
    own, gateway = ipaddress.ip_interface(wired.address), wired.gateway
    if own.version == 4 and own.network.prefixlen < 31 and own.ip in (own.network[0], own.network[-1]):
        raise ValueError(f'"{own.ip}" belongs to the network as a whole; a box needs one of those between')
    if gateway and ipaddress.ip_address(gateway).version == own.version == 4:
        if ipaddress.ip_address(gateway) == own.ip:
            raise ValueError("the gateway has the same address as this box; it is that of the network's router")
        if ipaddress.ip_address(gateway) not in own.network:
            raise ValueError(f'the gateway "{gateway}" is not in the network of this box ({own.network})')


def read_keys(text: str) -> list[str]:
    """Public keys that may log in, one for each line."""
    keys = []
    for number, line in _content(text):
        words = line.split()
        if "PRIVATE KEY" in line:
            raise ValueError(f"line {number}: this is a private key; please take the file whose name ends in .pub")
        at = next((i for i, word in enumerate(words) if word.startswith(KEY_TYPES)), None)
        if at != 0 or len(words) < 2 or not _is_key(words[0], words[1]):
            raise ValueError(f'line {number}: this is not a whole public key ("ssh-ed25519 AAAA... name")')
        keys.append(line)
    return keys


def _is_key(kind: str, encoded: str) -> bool:
    try:
        blob = base64.b64decode(encoded, validate=True)
    except binascii.Error:
        return False
    length = int.from_bytes(blob[:4], "big")
    return blob[4 : 4 + length] == kind.encode() and len(blob) > 4 + length + 30


def _content(text: str) -> list[tuple[int, str]]:
    lines = ((number, line.strip()) for number, line in enumerate(text.split("\n"), 1))
    return [(number, line) for number, line in lines if line and not line.startswith("#")]


def _pairs(text: str, keys: tuple[str, ...]) -> list[tuple[int, str, str]]:
    pairs = []
    for number, line in _content(text):
        key, equals, value = line.partition("=")
        key = key.strip().lower()
        if not equals or key not in keys:
            known = ", ".join(f'"{k} = ..."' for k in keys)
            # Not the whole line, since all clients read this sentence: it may be a password with its name misspelt.
            shown = f': "{key}"' if equals else ""
            raise ValueError(f"line {number}{shown} is not understood; it should be one of {known}")
        value = value.strip()
        if len(value) >= 2 and value[0] + value[-1] in QUOTES:
            value = value[1:-1]
        pairs.append((number, key, value))
    return pairs
