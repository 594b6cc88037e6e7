"""What wpa_supplicant says over its control socket: how the radio is, and which network refuses its password.

Asks and listens; decides nothing. A radio that is not there, or a program that has ended, answers with nothing.
"""

from __future__ import annotations

import re
import socket
import struct
from dataclasses import dataclass, field
from pathlib import Path

ANSWER_TIMEOUT_S = 2.0
MOST_EVENTS = 200
"""Read in one go; a network that comes and goes can say more than anybody wants to know."""

REFUSED = re.compile(r'CTRL-EVENT-SSID-TEMP-DISABLED .*?ssid="(.*)" auth_failures=\d+ .*reason=(WRONG_KEY|AUTH_FAILED)')

STATES = {"COMPLETED": "connected", "SCANNING": "searching", "DISCONNECTED": "searching", "INACTIVE": "off",
          "INTERFACE_DISABLED": "off"}  # fmt: skip

NL80211_SET_POWER_SAVE, ATTR_IFINDEX, ATTR_PS_STATE = 61, 3, 93
GENERIC, CONTROL_FAMILY, GET_FAMILY, ATTR_FAMILY_ID, ATTR_FAMILY_NAME = 16, 16, 3, 1, 2
REQUEST_AND_ACK = 0x05
ERROR = 2


@dataclass
class Radio:
    """How the radio is."""

    state: str = ""
    """`connected`, `searching`, `connecting` or `off`; empty where nobody answers."""
    network: str = ""
    signal_dbm: str = ""
    refused: set[str] = field(default_factory=set)
    """Networks that have refused the password."""


class Supplicant:
    """A connection to wpa_supplicant's socket at `path`; our own end is bound at `own`."""

    def __init__(self, path: Path, own: Path) -> None:
        self._path = path
        self._own = own
        self._socket: socket.socket | None = None
        self.refused: set[str] = set()

    def look(self) -> Radio:
        """Ask how things are."""
        try:
            if self._socket is None:
                self._connect()
            self._take_events()
            status = read_fields(self._ask("STATUS"))
            signal = read_fields(self._ask("SIGNAL_POLL"))
        except OSError:
            self.close()
            return Radio(refused=set(self.refused))
        state = status.get("wpa_state", "")
        radio = Radio(STATES.get(state, "connecting" if state else ""), status.get("ssid", ""))
        if radio.state == "connected":
            self.refused.discard(radio.network)
            radio.signal_dbm = signal.get("RSSI", "")
        radio.refused = set(self.refused)
        return radio

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        self._own.unlink(missing_ok=True)

    def _connect(self) -> None:
        self._own.parent.mkdir(parents=True, exist_ok=True)
        self._own.unlink(missing_ok=True)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.settimeout(ANSWER_TIMEOUT_S)
        self._socket.bind(str(self._own))
        self._socket.connect(str(self._path))
        self._ask("ATTACH")

    def _ask(self, question: str) -> str:
        assert self._socket is not None
        self._socket.send(question.encode())
        for _ in range(MOST_EVENTS):
            answer = self._socket.recv(8192).decode(errors="replace")
            if not answer.startswith("<"):
                return answer
            self._take(answer)
        raise OSError("no answer among many events")

    def _take_events(self) -> None:
        assert self._socket is not None
        self._socket.settimeout(0)
        try:
            for _ in range(MOST_EVENTS):
                self._take(self._socket.recv(8192).decode(errors="replace"))
        except BlockingIOError:
            pass
        finally:
            self._socket.settimeout(ANSWER_TIMEOUT_S)

    def _take(self, event: str) -> None:
        if found := REFUSED.search(event):
            self.refused.add(found[1])


def read_fields(text: str) -> dict[str, str]:
    """The lines KEY=VALUE of an answer."""
    return dict(line.split("=", 1) for line in text.splitlines() if "=" in line)


def power_save_off(interface: str) -> str:
    """Have the radio listen all the time: asleep between beacons it adds up to 100 ms to what a show sends. Returns why
    it could not be done, or ""."""
    try:
        index = socket.if_nametoindex(interface)
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, GENERIC) as link:
            link.settimeout(ANSWER_TIMEOUT_S)
            link.bind((0, 0))
            link.send(message(CONTROL_FAMILY, GET_FAMILY, {ATTR_FAMILY_NAME: b"nl80211\0"}))
            family = family_id(link.recv(8192))
            link.send(
                message(
                    family,
                    NL80211_SET_POWER_SAVE,
                    {ATTR_IFINDEX: struct.pack("=I", index), ATTR_PS_STATE: struct.pack("=I", 0)},
                )
            )
            answer = link.recv(8192)
            code = struct.unpack_from("=i", answer, 16)[0] if struct.unpack_from("=H", answer, 4)[0] == ERROR else 0
            return f"the radio's driver refuses it (error {-code})" if code else ""
    except (OSError, struct.error, KeyError) as error:
        return str(error) or type(error).__name__


def message(family: int, command: int, attributes: dict[int, bytes]) -> bytes:
    """One message of generic netlink (linux/netlink.h, linux/genetlink.h): header, command, attributes."""
    body = struct.pack("=BBH", command, 1, 0)
    for kind, value in attributes.items():
        body += struct.pack("=HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)
    return struct.pack("=IHHII", 16 + len(body), family, REQUEST_AND_ACK, 1, 0) + body


def family_id(answer: bytes) -> int:
    """The number of the family in the answer to GET_FAMILY. Raises OSError, KeyError, struct.error."""
    length, kind = struct.unpack_from("=IH", answer)
    if kind == ERROR:
        raise OSError("this kernel has no wireless configuration")
    at, found = 20, {}
    while at + 4 <= min(length, len(answer)):
        size, attribute = struct.unpack_from("=HH", answer, at)
        if size < 4:
            break
        found[attribute & 0x3FFF] = answer[at + 4 : at + size]
        at += (size + 3) & ~3
    number: int = struct.unpack("=H", found[ATTR_FAMILY_ID][:2])[0]
    return number
