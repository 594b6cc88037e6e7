"""wifi.txt: the country, wireless networks and a fixed address for the radio.

`read_wireless` turns its text into its meaning, `check_wireless` says what cannot work; both raise ValueError with a
sentence. Writes nothing and asks nothing of the system.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace

from clasp_board.addresses import Fixed, check_fixed
from clasp_board.lines import read_lines

NAME_BYTES = 32
PASSWORD = range(8, 64)
"""Lengths that WPA allows."""

KEY = re.compile(r"[0-9A-Fa-f]{64}")
"""What WPA2 makes of name and password; some programs write this in place of the password."""

SECURITIES = ("wpa2", "wpa3", "open")

_CODES = (
    "AD AE AF AG AI AL AM AO AQ AR AS AT AU AW AX AZ BA BB BD BE BF BG BH BI BJ BL BM BN BO BQ BR BS BT BV BW BY "
    "BZ CA CC CD CF CG CH CI CK CL CM CN CO CR CU CV CW CX CY CZ DE DJ DK DM DO DZ EC EE EG EH ER ES ET FI FJ FK "
    "FM FO FR GA GB GD GE GF GG GH GI GL GM GN GP GQ GR GS GT GU GW GY HK HM HN HR HT HU ID IE IL IM IN IO IQ IR "
    "IS IT JE JM JO JP KE KG KH KI KM KN KP KR KW KY KZ LA LB LC LI LK LR LS LT LU LV LY MA MC MD ME MF MG MH MK "
    "ML MM MN MO MP MQ MR MS MT MU MV MW MX MY MZ NA NC NE NF NG NI NL NO NP NR NU NZ OM PA PE PF PG PH PK PL PM "
    "PN PR PS PT PW PY QA RE RO RS RU RW SA SB SC SD SE SG SH SI SJ SK SL SM SN SO SR SS ST SV SX SY SZ TC TD TF "
    "TG TH TJ TK TL TM TN TO TR TT TV TW TZ UA UG UM US UY UZ VA VC VE VG VI VN VU WF WS YE YT ZA ZM ZW"
)
COUNTRIES = frozenset(_CODES.split())
"""ISO 3166-1; what the kernel's rules for radios know countries by."""

MISTAKEN = {"UK": "GB", "EN": "GB", "SP": "ES", "SW": "SE", "JA": "JP", "DA": "DK"}


@dataclass(frozen=True)
class Wifi:
    """One wireless network."""

    name: str
    password: str = ""
    """Empty: an open network. 64 hexadecimal digits: the key itself."""
    security: str = ""
    """One of SECURITIES, or empty: whichever of WPA2 and WPA3 the network has."""

    @property
    def is_key(self) -> bool:
        """Whether the password is the key itself."""
        return bool(KEY.fullmatch(self.password))


@dataclass(frozen=True)
class Wireless:
    """The country, the networks in the order of preference, the radio's address in all of them."""

    country: str
    networks: list[Wifi] = field(default_factory=list)
    fixed: Fixed = field(default_factory=Fixed)


def read_wireless(text: str) -> Wireless:
    """The file's meaning."""
    country, networks, fixed = "", list[Wifi](), Fixed()
    for line in read_lines(text, ("country", "name", "password", "security", "address", "gateway", "dns")):
        value, where = line.value, f"line {line.number}"
        if line.key == "country":
            country = value.upper()
            if not re.fullmatch(r"[A-Z]{2}", country):
                raise ValueError(f'{where}: the country is two letters, for example DE, not "{value}"')
        elif line.key == "name":
            if not 1 <= len(value.encode()) <= NAME_BYTES:
                raise ValueError(f"{where}: the name of a network has 1 to {NAME_BYTES} characters")
            networks.append(Wifi(value))
        elif line.key == "password":
            if not networks or networks[-1].password:
                raise ValueError(f'{where}: a "password" must follow the "name" of its network')
            fits = len(value) in PASSWORD and value.isascii() and value.isprintable()
            if value and not fits and not KEY.fullmatch(value):
                raise ValueError(
                    f"{where}: a wireless password has 8 to 63 letters, digits and signs, none with accents; or it is "
                    "a key of 64 digits 0-9 and a-f"
                )
            networks[-1] = replace(networks[-1], password=value)
        elif line.key == "security":
            if not networks or networks[-1].security:
                raise ValueError(f'{where}: "security" must follow the "name" of its network')
            if value.lower() not in SECURITIES:
                raise ValueError(f'{where}: "security" is one of {", ".join(SECURITIES)}, not "{value}"')
            networks[-1] = replace(networks[-1], security=value.lower())
        else:
            fixed.take(line)
    if not networks:
        raise ValueError('there is no line "name = ..." with the name of a network')
    if not country:
        raise ValueError('the line "country = ..." is missing; without it the radio stays off')
    for network in networks:
        if network.security == "open" and network.password:
            raise ValueError(f'the network "{network.name}" is open, so it has no password')
        if network.security in ("wpa2", "wpa3") and not network.password:
            raise ValueError(f'the network "{network.name}" needs the line "password = ..."')
        if network.security == "wpa3" and network.is_key:
            raise ValueError(f'a key of 64 digits is for WPA2; WPA3 needs the password of "{network.name}" itself')
    if fixed.gateway and not fixed.address:
        raise ValueError('the line "address = ..." is missing')
    return Wireless(country, networks, fixed)


def check_wireless(wireless: Wireless) -> None:
    """Whether the radio can work so."""
    if wireless.country not in COUNTRIES:
        meant = MISTAKEN.get(wireless.country)
        hint = f"; it is {meant}" if meant else ""
        raise ValueError(f'there is no country "{wireless.country}"{hint}. Its two letters are those of ISO 3166')
    check_fixed(wireless.fixed)
