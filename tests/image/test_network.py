"""network.txt and wifi.txt: what may stand there, what is refused, and the files that systemd and the radio get."""

from __future__ import annotations

import contextlib

import pytest
from clasp_board.lines import decode
from clasp_board.network import supplicant_config, wired_units
from clasp_board.wired import check_wired, read_wired
from clasp_board.wireless import COUNTRIES, check_wireless, read_wireless
from hypothesis import example, given
from hypothesis import strategies as st

KEY = "0123456789abcdef" * 4


def wired_fault(text: str) -> str:
    with pytest.raises(ValueError, match=r"\S") as caught:
        check_wired(read_wired(text))
    return str(caught.value)


def wifi_fault(text: str) -> str:
    with pytest.raises(ValueError, match=r"\S") as caught:
        check_wireless(read_wireless(text))
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("address = 127.0.0.1/8", "own name for itself"),
        ("address = 127.9.9.9/24", "own name for itself"),
        ("address = 224.0.0.5/24", "multicast"),
        ("address = 239.1.2.3/16", "multicast"),
        ("address = 240.1.2.3/16", "reserved"),
        ("address = 255.255.255.255/32", "reserved"),
        ("address = 0.0.0.0/0", "no machine"),
        ("address = 0.1.2.3/24", "no machine"),
        ("address = ::1/128", "own name for itself"),
        ("address = ff02::1/64", "multicast"),
        ("address = ::/64", "no machine"),
        ("address = 10.0.0.5/24\ngateway = 224.0.0.1", 'so it cannot be "gateway"'),
        ("address = 10.0.0.5/24\ndns = 10.0.0.1, 127.0.0.1", 'so it cannot be "dns"'),
        ("address = 10.0.0.5/24\naddress = 10.0.1.5/24", "line 2"),
        ("[eth1]\ngateway = 10.0.0.1", '"address = ..." is missing'),
        ("[eth1]\naddress = 10.0.0.5/24\n[eth1]\naddress = 10.0.1.5/24", "line 3: [eth1] stands there twice"),
        ("address = 10.0.0.5/24\n[eth1]\naddress = 10.0.0.6/24", "same network"),
        ("address = 10.0.0.5/8\n[vlan 7]\naddress = 10.9.0.6/24", "same network"),
        ("address = 10.0.0.5/24\ngateway = 10.0.0.1\n[eth1]\naddress = 10.1.0.6/24\ngateway = 10.1.0.1", "only one"),
        ("[vlan 0]", "1 to 4094"),
        ("[vlan 4095]", "1 to 4094"),
        ("[vlan 99999999999999999999]", "not understood"),
        ("[vlan]", "not understood"),
        ("[]", "not understood"),
        ("[../../etc/passwd]", "no network socket"),
        ("[eth1 vlan x]", "not understood"),
        ("ntp = 10.0.0.1\nntp = 10.0.0.2", "line 2"),
        ("ntp = a;reboot", "no time server"),
        ("timezone = ../../etc/shadow", "no time zone"),
        ("timezone = Europe/../../x", "no time zone"),
        ("adress = 10.0.0.1/8", "line 1"),
    ],
)
def test_what_cannot_work_in_a_wired_network_is_refused(text: str, says: str) -> None:
    assert says in wired_fault(text)


def test_sockets_and_tags_have_files_of_their_own() -> None:
    found = read_wired(
        "address = 192.168.1.20/24\ngateway = 192.168.1.1\nntp = 192.168.1.1, time.example.org\n"
        "timezone = Europe/Berlin\n[eth1]\naddress = 10.0.0.20/24\n[vlan 20]\naddress = 10.20.0.20/24\n"
        "[eth1 VLAN 30]\n[D8:3A:DD:00:00:01]\n"
    )
    check_wired(found)
    assert (found.ntp, found.timezone) == (["192.168.1.1", "time.example.org"], "Europe/Berlin")
    units = wired_units(found)
    every, eth1 = units["11-wired.network"], units["10-eth1.network"]
    assert "Type=ether\nKind=!*" in every
    assert "Address=192.168.1.20/24" in every
    assert "VLAN=vlan20" in every
    assert "Name=eth1" in eth1
    assert "Address=10.0.0.20/24" in eth1
    (tagged,) = [line.removeprefix("VLAN=") for line in eth1.splitlines() if line.startswith("VLAN=")]
    assert f"Name={tagged}\nKind=vlan" in units[f"10-{tagged}.netdev"]
    assert "Id=30" in units[f"10-{tagged}.netdev"]
    assert "DHCP=yes" in units[f"09-{tagged}.network"]
    assert "Id=20" in units["10-vlan20.netdev"]
    assert "Address=10.20.0.20/24" in units["09-vlan20.network"]
    assert "PermanentMACAddress=d8:3a:dd:00:00:01" in units["10-d83add000001.network"]
    assert sorted(units)[-1] == "11-wired.network", "what is said of one socket comes before what is said of all"


def test_a_time_server_alone_leaves_the_address_to_the_network() -> None:
    found = read_wired("ntp = 10.0.0.1\n")
    check_wired(found)
    assert wired_units(found) == {}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("country = UK\nname = x", "it is GB"),
        ("country = XX\nname = x", "no country"),
        ("country = DE\nname = x\nsecurity = wep", "wpa2, wpa3, open"),
        ("country = DE\nname = x\nsecurity = wpa3", "needs the line"),
        ("country = DE\nname = x\npassword = 12345678\nsecurity = open", "has no password"),
        (f"country = DE\nname = x\npassword = {KEY}\nsecurity = wpa3", "WPA3 needs the password"),
        (f"country = DE\nname = x\npassword = {KEY[:-1]}g", "64 digits"),
        (f"country = DE\nname = x\npassword = {KEY}0", "64 digits"),
        ("country = DE\nsecurity = wpa2\nname = x", "must follow"),
        ("country = DE\nname = x\naddress = 127.0.0.2/8", "own name for itself"),
        ("country = DE\nname = x\naddress = 10.0.0.2", "10.0.0.2"),
        ("country = DE\nname = x\ngateway = 10.0.0.2", "missing"),
        ("country = DE\nname = " + "ä" * 17, "1 to 32"),
    ],
)
def test_what_cannot_work_in_a_wireless_network_is_refused(text: str, says: str) -> None:
    assert says in wifi_fault(text)


def test_a_network_is_entered_by_what_it_has() -> None:
    text = supplicant_config(read_wireless("country = de\nname = both\npassword = long enough\n"))
    assert "key_mgmt=WPA-PSK WPA-PSK-SHA256 SAE" in text
    assert f"sae_password={b'long enough'.hex()}" in text
    assert "country=DE" in text
    only = supplicant_config(read_wireless("country = DE\nname = x\nsecurity = wpa3\npassword = long enough\n"))
    assert "key_mgmt=SAE\n" in only
    assert "ieee80211w=2" in only
    assert "psk=" not in only
    key = supplicant_config(read_wireless(f"country = DE\nname = x\npassword = {KEY.upper()}\n"))
    assert f"psk={KEY}" in key
    assert "SAE" not in key
    assert "sae_password" not in supplicant_config(
        read_wireless("country = DE\nname = x\nsecurity = wpa2\npassword = long enough\n")
    )
    assert "key_mgmt=NONE" in supplicant_config(read_wireless("country = DE\nname = x\nsecurity = open\n"))


def test_countries_are_those_of_the_standard() -> None:
    assert len(COUNTRIES) == 249
    assert {"DE", "GB", "US", "JP", "CH"} <= COUNTRIES


words = st.sampled_from(
    ["address", "gateway", "dns", "ntp", "timezone", "country", "name", "password", "security", "=", "[", "]", "vlan",
     "eth0", "10.0.0.1/24", "10.0.0.1", "::1", "DE", "wpa3", "#", "\n", "\r\n", '"', " ", "\\", "%", "\u2028", KEY]
)  # fmt: skip


@given(st.one_of(st.text(max_size=200), st.lists(words, max_size=30).map("".join)))
@example("address = 10.0.0.1/24\n[vlan 1]\n")
def test_no_text_leads_to_a_line_of_its_own(text: str) -> None:
    """Whatever is accepted becomes lines that were meant, and a fault is always a sentence."""
    with contextlib.suppress(ValueError):
        wired = read_wired(text)
        check_wired(wired)
        for name, unit in wired_units(wired).items():
            assert "/" not in name
            for line in unit.splitlines():
                assert line == "" or line.startswith("[") or line.partition("=")[1] == "="
                assert line.isprintable()
    with contextlib.suppress(ValueError):
        wireless = read_wireless(text)
        check_wireless(wireless)
        config = supplicant_config(wireless)
        assert config.count("{") == config.count("}") == len(wireless.networks)
        assert config.isascii()


@given(st.binary(max_size=200))
def test_any_bytes_are_text_or_refused(raw: bytes) -> None:
    with contextlib.suppress(ValueError):
        text = decode(raw)
        assert "\0" not in text
        assert "\r" not in text
