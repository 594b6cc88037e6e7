"""What Raspberry Pi Imager leaves on a card becomes the box's own settings, and is taken away."""

from __future__ import annotations

import contextlib
import shlex

import pytest
from clasp_board import fields, wired, wireless
from clasp_board.imager import Wish, read_wish, take_over_imager
from clasp_board.places import Places
from clasp_board.problems import read_problems
from clasp_board.settings import HOST_NAME, KEYS, NETWORK, WIFI, take_over
from hypothesis import given
from hypothesis import strategies as st

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKJuwWZfbF1lU3mFoHkYvJ1vXvLDOXzGTzAzdQdGDmbG anna@laptop"
OTHER = KEY.replace("anna", "bert")
PSK = "f42c6fc52df0ebef9ebb4b90b38a5f902e83fe1b135a70e23aed762e9710a12e"
ADDED = " systemd.run=/boot/firstrun.sh systemd.run_success_action=reboot systemd.unit=kernel-command-line.target"
COMMAND_LINE = "console=tty1 quiet panic=10"

SCRIPT = f"""#!/bin/bash

set +e

CURRENT_HOSTNAME=`cat /etc/hostname | tr -d " \\t\\n\\r"`
if [ -f /usr/lib/raspberrypi-sys-mods/imager_custom ]; then
   /usr/lib/raspberrypi-sys-mods/imager_custom set_hostname Stage-Left
else
   echo Stage-Left >/etc/hostname
   sed -i "s/127.0.1.1.*$CURRENT_HOSTNAME/127.0.1.1\\tStage-Left/g" /etc/hosts
fi
FIRSTUSER=`getent passwd 1000 | cut -d: -f1`
if [ -f /usr/lib/raspberrypi-sys-mods/imager_custom ]; then
   /usr/lib/raspberrypi-sys-mods/imager_custom enable_ssh -k '{KEY}
{OTHER}'
else
   systemctl enable ssh
fi
if [ -f /usr/lib/userconf-pi/userconf ]; then
   /usr/lib/userconf-pi/userconf 'pi' '$5$secret-hash'
fi
if [ -f /usr/lib/raspberrypi-sys-mods/imager_custom ]; then
   /usr/lib/raspberrypi-sys-mods/imager_custom set_wlan -h 'Anna'"'"'s Stage' '{PSK}' 'DE'
else
cat >/etc/wpa_supplicant/wpa_supplicant.conf <<'WPAEOF'
country=DE
network={{
	ssid="Anna's Stage"
	psk={PSK}
}}
WPAEOF
fi
if [ -f /usr/lib/raspberrypi-sys-mods/imager_custom ]; then
   /usr/lib/raspberrypi-sys-mods/imager_custom set_keymap 'de'
   /usr/lib/raspberrypi-sys-mods/imager_custom set_timezone 'Europe/Berlin'
fi
rm -f /boot/firstrun.sh
sed -i 's| systemd.run.*||g' /boot/cmdline.txt
exit 0
"""
OLD_SCRIPT = f"""#!/bin/bash
set +e
CURRENT_HOSTNAME=`cat /etc/hostname`
echo stage-left >/etc/hostname
cat >/etc/wpa_supplicant/wpa_supplicant.conf <<WPAEOF
country=DE
ap_scan=1
network={{
	ssid="Stage"
	psk={PSK}
}}
WPAEOF
"""
USER_DATA = f"""#cloud-config
hostname: stage-left
manage_etc_hosts: true
timezone: Europe/Berlin
users:
- name: pi
  groups: users,adm
  shell: /bin/bash
  passwd: $5$secret-hash
  ssh_authorized_keys:
    - {KEY}
    - "{OTHER}"
  sudo: ALL=(ALL) NOPASSWD:ALL
runcmd:
- localectl set-x11-keymap "de" pc105
"""
NETWORK_CONFIG = f"""version: 2
wifis:
  renderer: networkd
  wlan0:
    dhcp4: true
    regulatory-domain: "DE"
    access-points:
      "Anna's \\"Stage\\"":
        password: "{PSK}"
      Foyer: {{}}
    optional: true
ethernets:
  eth0:
    dhcp4: true
"""


@pytest.fixture
def card(board: Places) -> Places:
    for name in (HOST_NAME, WIFI, NETWORK, KEYS):
        (board.firmware / name).write_bytes(b"# nothing yet\r\n")
    (board.firmware / "cmdline.txt").write_text(f"{COMMAND_LINE}{ADDED}\n")
    return board


def test_the_script_of_a_first_start_is_taken_for_what_it_means(card: Places) -> None:
    (card.firmware / "firstrun.sh").write_text(SCRIPT)
    take_over_imager(card)
    assert not (card.firmware / "firstrun.sh").exists()
    assert (card.firmware / "cmdline.txt").read_text() == f"{COMMAND_LINE}\n"
    in_force = take_over(card, persistent=True)
    assert read_problems(card) == []
    assert fields.read_host_name(in_force[HOST_NAME]) == "stage-left"
    assert fields.read_keys(in_force[KEYS]) == [KEY, OTHER]
    found = wireless.read_wireless(in_force[WIFI])
    assert (found.country, found.networks) == ("DE", [wireless.Wifi("Anna's Stage", PSK)])
    assert wired.read_wired(in_force[NETWORK]).timezone == "Europe/Berlin"
    left = b"".join(path.read_bytes() for path in card.firmware.iterdir())
    assert PSK.encode() not in left
    assert b"secret-hash" not in left


def test_files_for_cloud_init_are_taken_for_what_they_mean(card: Places) -> None:
    (card.firmware / "user-data").write_text(USER_DATA)
    (card.firmware / "network-config").write_text(NETWORK_CONFIG)
    (card.firmware / "meta-data").write_text("instance-id: rpi-imager-1\n")
    (card.firmware / "cmdline.txt").write_text(
        f"{COMMAND_LINE} ds=nocloud;i=rpi-imager-1 cfg80211.ieee80211_regdom=DE\n"
    )
    take_over_imager(card)
    in_force = take_over(card, persistent=True)
    assert read_problems(card) == []
    assert fields.read_keys(in_force[KEYS]) == [KEY, OTHER]
    found = wireless.read_wireless(in_force[WIFI])
    assert found.networks == [wireless.Wifi('Anna\'s "Stage"', PSK), wireless.Wifi("Foyer")]
    assert not {"user-data", "network-config", "meta-data"} & {path.name for path in card.firmware.iterdir()}
    assert "nocloud" not in (card.firmware / "cmdline.txt").read_text()


def test_a_script_of_an_older_imager() -> None:
    wish = read_wish({"firstrun.sh": OLD_SCRIPT})
    assert wish == Wish("stage-left", [], "DE", [("Stage", PSK)])


def test_what_somebody_has_typed_comes_first(card: Places) -> None:
    (card.firmware / HOST_NAME).write_text("mine\n")
    (card.firmware / "firstrun.sh").write_text(SCRIPT)
    take_over_imager(card)
    in_force = take_over(card, persistent=True)
    assert in_force[HOST_NAME] == "mine\n"
    assert KEYS in in_force


def test_what_cannot_be_used_is_named_and_the_rest_is_used(card: Places) -> None:
    (card.firmware / "firstrun.sh").write_text(SCRIPT.replace("Stage-Left", "stage_left").replace("'DE'", "''"))
    take_over_imager(card)
    in_force = take_over(card, persistent=True)
    assert HOST_NAME not in in_force
    assert KEYS in in_force
    assert any("hostname.txt is not used" in problem for problem in read_problems(card))


def test_a_network_without_its_country_stays_on_the_card_to_be_mended(card: Places) -> None:
    (card.firmware / "firstrun.sh").write_text(SCRIPT.replace("'DE'", "''").replace("country=DE", ""))
    take_over_imager(card)
    assert WIFI not in take_over(card, persistent=True)
    assert any("wifi.txt is not used" in p and "take the # away" in p for p in read_problems(card))
    left = (card.firmware / WIFI).read_text()
    assert PSK in left
    mended = left.replace("# name", "country = DE\nname").replace("# password", "password")
    (card.firmware / WIFI).write_text(mended)
    in_force = take_over(card, persistent=True)
    assert wireless.read_wireless(in_force[WIFI]).networks == [wireless.Wifi("Anna's Stage", PSK)]
    assert PSK not in (card.firmware / WIFI).read_text()


def test_a_command_line_alone_is_put_right(card: Places) -> None:
    """The script is gone: the box must start all the same, at every start."""
    take_over_imager(card)
    assert (card.firmware / "cmdline.txt").read_text() == f"{COMMAND_LINE}\n"
    before = (card.firmware / "cmdline.txt").stat().st_mtime_ns
    take_over_imager(card)
    assert (card.firmware / "cmdline.txt").stat().st_mtime_ns == before


def test_a_card_that_can_only_be_read_is_named(card: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    (card.firmware / "firstrun.sh").write_text(SCRIPT)

    def refuse(*_: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr("clasp_board.imager.writable", refuse)
    take_over_imager(card)
    assert "Read-only file system" in read_problems(card)[0]


@given(st.text(max_size=20), st.text(max_size=70), st.text(max_size=3))
def test_a_network_is_what_the_shell_would_have_been_told(name: str, password: str, country: str) -> None:
    line = f"   /usr/lib/raspberrypi-sys-mods/imager_custom set_wlan {shlex.join([name, password, country])}\n"
    wish = read_wish({"firstrun.sh": line})
    if name and name not in ("-h", "-p", "--hidden", "--plain") and "imager_custom" not in name + password + country:
        dashed = {"-h", "-p", "--hidden", "--plain"}
        if password not in dashed and country not in dashed:
            assert wish.networks[0] == (name, password)


@given(st.dictionaries(st.sampled_from(["firstrun.sh", "user-data", "network-config"]), st.text(max_size=300)))
def test_any_files_are_read_to_an_end(texts: dict[str, str]) -> None:
    for name, text in read_wish(texts).files().items():
        with contextlib.suppress(ValueError):
            {HOST_NAME: fields.read_host_name, KEYS: fields.read_keys, WIFI: wireless.read_wireless}.get(
                name, wired.read_wired
            )(text)
