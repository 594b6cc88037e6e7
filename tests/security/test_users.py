"""Users of MQTT: hashed passwords, scopes with %u and %c, Mosquitto's files; devices by network."""

from __future__ import annotations

import base64
import hashlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import mqtt_packets as packets
from support.console import ask
from support.daemon import Daemon
from support.mqtt_client import Broker
from support.mqtt_packets import V5, V311

from clasp_edge.devices.mqtt.address import to_pattern
from clasp_edge.security import passwords
from clasp_edge.security.kept_file import LARGEST_BYTES, KeptFileError
from clasp_edge.security.mosquitto_files import Imported, read_acl, read_passwords
from clasp_edge.security.scope import Action
from clasp_edge.security.tokens import TokenStore
from clasp_edge.security.user_file import User, UserFile, hashed
from clasp_edge.wire.pattern import Pattern

CONFIG = """
[security]
mode = "authenticated"

[[security.token]]
token = "a-token-of-sixteen-characters"
subject = "desk"
scopes = ["admin:/**"]
"""

NETWORK = (
    '[[security.network]]\nnetworks = ["127.0.0.0/8"]\nprotocols = ["mqtt"]\nscopes = ["write:/mqtt/sensors/**"]\n'
)


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def seven(password: str, iterations: int = 101) -> str:
    """As mosquitto_passwd of 2.0 writes it."""
    salt = b"twelve bytes"
    return f"$7${iterations}${b64(salt)}${b64(hashlib.pbkdf2_hmac('sha512', password.encode(), salt, iterations))}"


def six(password: str) -> str:
    """As mosquitto_passwd of 1.x writes it."""
    salt = b"twelve bytes"
    return f"$6${b64(salt)}${b64(hashlib.sha512(password.encode() + salt).digest())}"


# ---- passwords ----


@pytest.mark.parametrize("kept", [seven("swordfish"), six("swordfish"), passwords.hash_of("swordfish")])
def test_each_form_knows_its_password(kept: str) -> None:
    assert passwords.matches(kept, b"swordfish")
    assert not passwords.matches(kept, b"swordfisH")
    assert not passwords.matches(kept, b"")
    assert "swordfish" not in kept


def test_a_process_that_keeps_openssl_out_can_check_passwords() -> None:
    script = (
        "from clasp_edge.daemon.no_tls import import_loop_without_tls; import_loop_without_tls()\n"
        "import hashlib; vars(hashlib).pop('pbkdf2_hmac', None)  # as Python has it since 3.12\n"
        "from clasp_edge.security import passwords\n"
        "kept = passwords.hash_of('swordfish')\n"
        "print(passwords.matches(kept, b'swordfish'), passwords.matches(kept, b'swordfisH'))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "True False\n"


@pytest.mark.parametrize(
    "kept",
    [
        "", "swordfish", "$5$a$b", "$7$101$c2FsdA==$aGFzaA==", "$7$0$c2FsdA==$" + b64(bytes(64)),
        "$6$$" + b64(bytes(64)),
        "$7$99999999$c2FsdA==$" + b64(bytes(64)), "$7$1000001$c2FsdA==$" + b64(bytes(64)),
        "$7$0000000019999999999$c2FsdA==$" + b64(bytes(64)), "$7$" + "9" * 5000 + "$c2FsdA==$" + b64(bytes(64)),
        "$7$-1$c2FsdA==$" + b64(bytes(64)), "$6$!$!", "$6$c2FsdA==",
    ],
)  # fmt: skip
def test_what_is_no_hash_is_refused(kept: str) -> None:
    with pytest.raises(passwords.HashError):
        passwords.check_form(kept)


# ---- scopes with variables ----


def may(user: User, client: str, action: Action, address: str) -> bool:
    return user.scopes_for(client).allows(action, address.encode())


def test_variables_stand_for_names() -> None:
    user = User("bob", "", ("write:/mqtt/%u/%c/**", "read:/mqtt/all/**"), 0)
    assert may(user, "lamp", Action.WRITE, "/mqtt/bob/lamp/on")
    assert not may(user, "lamp", Action.WRITE, "/mqtt/bob/other/on")
    assert may(user, "lamp", Action.READ, "/mqtt/all/x")


@given(st.text(st.sampled_from("*+#/?[]{}!%cu ,:ab"), max_size=12))
def test_no_name_widens_a_scope(name: str) -> None:
    """Mosquitto's CVE-2017-7650: a client that calls itself `#`."""
    for user, client in (
        (User(name, "", ("read:/mqtt/%u/x",), 0), "c"),
        (User("u", "", ("read:/mqtt/%c/x",), 0), name),
    ):
        scopes = user.scopes_for(client)
        assert not scopes.allows(Action.READ, b"/mqtt/somebody/x")
        assert not scopes.allows(Action.READ, b"/mqtt/a/b/x")
        assert not scopes.covers(Action.READ, Pattern(b"/mqtt/*/x"))


# ---- the file ----


def test_the_file_says_what_is_wrong_and_loses_nothing(tmp_path: Path) -> None:
    file = UserFile(tmp_path)
    file.add("bob", hashed("swordfish"), ["write:/mqtt/%c/**"])
    assert file.path.stat().st_mode & 0o777 == 0o600
    assert "swordfish" not in file.path.read_text()
    before = file.path.read_bytes()
    for call in (
        lambda: file.add("bob", seven("another one"), []),
        lambda: file.add("eve", "swordfish", []),
        lambda: file.add("eve\n", seven("swordfish"), []),
        lambda: file.add("eve", seven("swordfish"), ["fly:/**"]),
        lambda: hashed("short"),
        lambda: file.remove("eve"),
        lambda: hashed("x" * 2000),
        lambda: hashed("swordfish\ud800"),
        lambda: file.set_password("eve", seven("swordfish")),
        lambda: file.set_password("bob", "swordfish"),
    ):
        with pytest.raises(KeptFileError):
            call()
    scope = "read:/" + "x" * 900
    many = [User(f"user{n}", seven("swordfish"), (scope,) * 2, 0) for n in range(LARGEST_BYTES // 1900)]
    with pytest.raises(KeptFileError, match="full"), file.changing() as users:
        users.extend(many)
    assert file.path.read_bytes() == before


def test_mosquitto_s_files() -> None:
    found = Imported()
    read_passwords(f"# people\nbob:{seven('swordfish')}\nann:{six('12345678')}\nbad:plain\n\nnone\n", found)
    acl = (
        "topic read public/#\n\nuser bob\ntopic readwrite home/+/light\ntopic write only/in\ntopic $SYS/#\n"
        "user ann\ntopic deny home/secret\ntopic home/#\n\npattern write devices/%c/#\nfly x\n"
    )
    read_acl(acl, found, lambda topic: [to_pattern("/mqtt", topic)])
    assert set(found.passwords) == {"bob", "ann"}
    assert found.of("bob") == ("write:/mqtt/home/*/light", "write!:/mqtt/only/in", "write!:/mqtt/devices/%c/**")
    assert found.of("ann") == ()  # never wider than it was
    said = "\n".join(found.remarks)
    for word in ("line 4", "line 6", "$SYS", "deny", "ACL file, line 1:", "fly"):
        assert word in said


# ---- the router ----


def command(daemon: Daemon, *words: str, given: str = "") -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "clasp_edge", "user", *words, "--set", f"data_dir={daemon.data_dir}"]
    return subprocess.run(line, input=given, capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    with Daemon(mqtt=True, config=CONFIG) as running:
        done = command(running, "add", "bob", "--scope", "write:/mqtt/%u/%c/**", given="swordfish\n")
        assert done.returncode == 0, done.stderr
        yield running


@pytest.fixture
def broker(daemon: Daemon) -> Iterator[Broker]:
    mqtt = Broker(daemon.mqtt_address)
    yield mqtt
    mqtt.leave()


@pytest.mark.parametrize("version", [V311, V5])
def test_a_password_opens_the_door_to_what_it_may(broker: Broker, version: int) -> None:
    bob = broker.client(version, "lamp", username="bob", password="swordfish")
    bob.subscribe("bob/lamp/#")
    bob.send(packets.publish(bob.version, "bob/lamp/on", b"1"))
    assert bob.receive(b"1").topic == "bob/lamp/on"
    refused = bob.subscribe("bob/other/#")
    assert refused.codes[0] >= 0x80


@pytest.mark.parametrize(("name", "password"), [("bob", "wrong one"), ("nobody", "swordfish"), ("bob", "")])
def test_a_wrong_one_does_not(broker: Broker, daemon: Daemon, name: str, password: str) -> None:
    for version, code in ((V311, 4), (V5, 0x86)):
        client = broker.open(version)
        client.connect("lamp", expect=code, username=name, password=password)
    assert "login refused: client 'bob'" in daemon.stderr


def test_a_capability_token_is_no_password() -> None:
    store = TokenStore(users=[User("bob", six("swordfish"), (), 0)])
    assert store.holds("cap_x")
    assert not store.holds("swordfish")


def test_a_token_goes_on_as_a_password(broker: Broker) -> None:
    broker.client(V5, "desk", username="anything", password="a-token-of-sixteen-characters")


def test_what_follows_the_connect_waits_for_the_check(broker: Broker) -> None:
    client = broker.open(V5)
    client.send(
        packets.connect("eager", V5, username="bob", password="swordfish")
        + packets.subscribe(V5, 1, [("bob/eager/#", 0)])
        + packets.publish(V5, "bob/eager/x", b"now")
    )
    assert client.expect(packets.Connack).code == 0
    assert client.expect(packets.Suback).codes == [0]
    assert client.receive(b"now").topic == "bob/eager/x"


def test_changes_take_effect_at_once(broker: Broker, daemon: Daemon) -> None:
    assert command(daemon, "add", "eve", "--scope", "read:/mqtt/**", given="swordfish\n").returncode == 0
    eve = broker.client(V5, "eve", username="eve", password="swordfish")
    assert command(daemon, "passwd", "eve", given="another one\n").returncode == 0
    eve.expect_closed(0x87)
    eve = broker.client(V5, "eve", username="eve", password="another one")
    assert command(daemon, "scopes", "eve", "--scope", "read:/mqtt/a/**").returncode == 0
    assert eve.subscribe("b/#").codes[0] == 0x87
    assert command(daemon, "remove", "eve").returncode == 0
    eve.expect_closed(0x87)
    assert "another one" not in daemon.stderr
    names = [one["name"] for one in json.loads(command(daemon, "list", "--json").stdout)]
    assert names == ["bob"]


def test_a_password_is_hashed_by_who_asks_and_not_by_the_router(daemon: Daemon) -> None:
    refused = ask(daemon.control_path, request="user", action="add", name="eve", password="swordfish", scopes=[])
    assert "hash" in refused["error"]["message"]
    assert command(daemon, "add", "short", given="1234567\n").returncode == 1
    assert "eve" not in command(daemon, "list").stdout


def test_users_with_long_acls_are_imported_whole(daemon: Daemon, tmp_path: Path) -> None:
    people, acl = tmp_path / "people", tmp_path / "acl"
    people.write_text("".join(f"u{number}:{seven('swordfish')}\n" for number in range(40)))
    topics = "".join(f"topic readwrite a/rather/long/name/of/a/topic/{number}\n" for number in range(120))
    acl.write_text("".join(f"user u{number}\n{topics}" for number in range(40)))
    done = command(daemon, "import", str(people), "--acl", str(acl))
    assert (done.returncode, done.stdout) == (0, "40 users imported\n"), done.stderr
    listed = {user["name"]: user for user in json.loads(command(daemon, "list", "--json").stdout)}
    assert len(listed["u39"]["scopes"]) == 120
    # One that no request can hold is named, and nobody is imported.
    people.write_text(f"small:{seven('swordfish')}\nlarge:{seven('swordfish')}\n")
    acl.write_text("user large\n" + "".join(f"topic read {number}/{'x' * 200}\n" for number in range(400)))
    done = command(daemon, "import", str(people), "--acl", str(acl))
    assert done.returncode == 1
    assert "large: its 400 scopes take" in done.stderr
    assert "small" not in command(daemon, "list").stdout


def test_an_import_opens_the_door(broker: Broker, daemon: Daemon, tmp_path: Path) -> None:
    people, acl = tmp_path / "passwd", tmp_path / "acl"
    # With the mark and the ends of lines of Windows' editors.
    lines = f"old:{six('swordfish')}\r\nnew:{seven('swordfish')}\r\nbob:{seven('other')}\r\n"
    people.write_bytes(lines.encode("utf-8-sig"))
    acl.write_bytes("user old\r\ntopic readwrite home/#\r\npattern read home/%u/#\r\n".encode("utf-8-sig"))
    done = command(daemon, "import", str(people), "--acl", str(acl))
    assert done.returncode == 0, done.stderr
    assert "2 users imported, 1 were there already: bob" in done.stdout
    old = broker.client(V5, "x", username="old", password="swordfish")
    assert old.subscribe("home/#").codes[0] < 0x80
    new = broker.client(V5, "y", username="new", password="swordfish")
    assert new.subscribe("home/old/#").codes[0] == 0x87


def test_a_device_may_do_what_its_network_may() -> None:
    with Daemon(mqtt=True, config=CONFIG + NETWORK) as running:
        mqtt = Broker(running.mqtt_address)
        sensor = mqtt.client(V311, "sensor")
        sensor.subscribe("sensors/#")
        sensor.send(packets.publish(sensor.version, "sensors/1", b"21"))
        assert sensor.receive(b"21").topic == "sensors/1"
        assert sensor.subscribe("other/#").codes[0] == 0x80
        wrong = mqtt.open(V311)
        wrong.connect("sensor2", expect=4, username="sensor", password="a guess")
        mqtt.leave()
