"""What follows from the settings in force: the files that the system's services read."""

from __future__ import annotations

import subprocess

from clasp_board import wireless
from clasp_board.apply import apply
from clasp_board.daemon_files import CONFIG
from clasp_board.network import supplicant_config
from clasp_board.places import Places
from clasp_board.settings import HOST_NAME, KEYS, NETWORK, WIFI

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKJuwWZfbF1lU3mFoHkYvJ1vXvLDOXzGTzAzdQdGDmbG anna@laptop"


def test_without_settings_the_box_has_its_default_name_and_lets_nobody_in(board: Places) -> None:
    apply(board, {})
    assert (board.root / "etc/hostname").read_text() == "clasp-edge\n"
    assert not (board.root / "root/.ssh/authorized_keys").exists()
    assert not board.daemon_config.exists()


def test_settings_are_put_where_services_look(board: Places) -> None:
    apply(
        board,
        {
            HOST_NAME: "Left\n",
            CONFIG: "name = 'left'\n",
            NETWORK: "address = 192.168.1.20/24\ngateway = 192.168.1.1\ndns = 192.168.1.1, 9.9.9.9\n",
            KEYS: f"# anna\n{KEY}\n",
            WIFI: "country = de\nname = Stage\npassword = 12345678\n",
        },
    )
    assert (board.root / "etc/hostname").read_text() == "left\n"
    assert "127.0.1.1 left" in (board.root / "etc/hosts").read_text()
    assert board.daemon_config.read_text() == "name = 'left'\n"
    assert board.daemon_config.stat().st_mode & 0o007 == 0
    network = (board.root / "etc/systemd/network/11-wired.network").read_text().splitlines()
    assert {"Address=192.168.1.20/24", "Gateway=192.168.1.1", "DNS=192.168.1.1", "DNS=9.9.9.9"} <= set(network)
    assert (board.root / "root/.ssh/authorized_keys").read_text() == f"{KEY}\n"
    assert (board.root / "root/.ssh").stat().st_mode & 0o077 == 0
    assert (board.root / "etc/wpa_supplicant/wpa_supplicant-wlan0.conf").stat().st_mode & 0o077 == 0


def test_no_sign_in_the_name_of_a_network_can_change_the_configuration() -> None:
    found = wireless.read_wireless('country = DE\nname = a"\\n}\npassword = "quoted " pass"\n')
    text = supplicant_config(found)
    assert text.count("}") == 1
    assert 'a"' not in text
    assert "ssid=61225c6e7d" in text


def test_the_key_of_a_network_is_the_one_that_wpa_prescribes() -> None:
    # IEEE 802.11i, annex H.4.3: the first test vector.
    text = supplicant_config(wireless.Wireless("DE", [wireless.Wifi("IEEE", "password")]))
    assert "psk=f42c6fc52df0ebef9ebb4b90b38a5f902e83fe1b135a70e23aed762e9710a12e" in text


def test_shell_scripts_of_the_first_stage_are_right_for_the_shell() -> None:
    from pathlib import Path

    for script in sorted((Path(__file__).resolve().parents[2] / "image").rglob("*.sh")):
        subprocess.run(["sh", "-n", script], check=True, timeout=20)
    subprocess.run(["sh", "-n", Path(__file__).resolve().parents[2] / "image/initramfs/init"], check=True, timeout=20)
