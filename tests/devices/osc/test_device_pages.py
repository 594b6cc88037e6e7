"""The configurations that docs/devices.md gives for devices, as they stand there, with stand-ins that do what such
devices do in public: only addresses and ports are replaced by those of the stand-ins."""

from __future__ import annotations

import re
import socket
import struct
from pathlib import Path

import pytest
from support.daemon import Daemon
from support.live import Crowd, eventually, get, put, subscribe
from support.osc import Device, bundle, packet

from clasp_edge import wire
from clasp_edge.devices.osc.framing import FramingName, Splitter, wrap

PAGE = Path(__file__).parents[3] / "docs" / "devices.md"


def configuration(name: str) -> str:
    """The lines of configuration below the heading in bold that begins with this name."""
    text = PAGE.read_text().split(f"**{name}", 1)[1]
    block = re.search(r"\n\n((?:    .*\n|\n)+)", text)
    assert block is not None
    return re.sub(r"(?m)^    ", "", block.group(1))


def at(text: str, device: Device) -> str:
    """The same for a device on this machine."""
    text = re.sub(r'(host|source) = "[^"]*"', r'\1 = "127.0.0.1"', text)
    text = re.sub(r"(?m)^port = .*", f"port = {device.port}", text)
    return text.replace('source = "127.0.0.1"', f'source = "127.0.0.1:{device.port}"')


def test_x32() -> None:
    """It is kept awake, is asked for its state, knows floats and ints only, and has a prefix of its own."""
    with Device(("127.0.0.1", 1)) as console:
        text = at(configuration("X32"), console).replace("every_s = 9", "every_s = 0.3")
        with Daemon(osc=True, config=text) as daemon:
            console.router = daemon.osc_address
            asked = {console.hear()[0] for _ in range(2)}
            assert asked == {"/xremote", "/ch/01/mix/fader"}
            console.say("/ch/01/mix/fader", 0.75, tags="f")  # its answer has the address of the question
            crowd = Crowd(daemon)
            client = crowd.ws()
            eventually(lambda: (p := get(client, "/osc/foh/ch/01/mix/fader")) is not None and p.value == 0.75)
            console.send(b"node\0\0\0\0" + packet("/", '/ch/01/config "Kick" 1 YE 1')[4:])  # its answer to /node
            eventually(
                lambda: (p := get(client, "/osc/foh/node")) is not None and p.value == '/ch/01/config "Kick" 1 YE 1'
            )
            put(client, "/osc/foh/ch/01/mix/on", True)
            put(client, "/osc/foh/ch/02/mix/fader", 1)
            heard = []
            while len(heard) < 2:
                console.socket.settimeout(10)
                data = console.socket.recv(65536)
                if b"/mix/on" in data or b"/ch/02" in data:
                    heard.append(data)
            assert heard[0].endswith(b",i\0\0" + struct.pack(">i", 1))
            assert heard[1].endswith(b",f\0\0" + struct.pack(">f", 1.0))
            console.hear_until(("/xremote", []))
            crowd.leave()


@pytest.mark.parametrize(
    ("name", "framing", "greeting", "go", "state", "told"),
    [
        ("QLab", "slip", [], "/go", "/cue/1/level", "/update/workspace/1"),
        ("Eos", "length", [packet("/eos/subscribe", 1)], "/eos/key/go_0", "/eos/chan/1", "/eos/out/active/cue/1/1"),
    ],
)
def test_a_cue_is_fired_once(
    name: str, framing: FramingName, greeting: list[bytes], go: str, state: str, told: str
) -> None:
    """Neither the state at the start nor a connection that comes back fires it again. The device understands its own
    framing only, and has said nothing when the cue comes."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(20)
        text = re.sub(r"(?m)^host = .*", 'host = "127.0.0.1"', configuration(name))
        text = re.sub(r"(?m)^port = .*", f"port = {server.getsockname()[1]}", text)
        with Daemon(osc=True, config=text) as daemon:
            crowd = Crowd(daemon)
            client = crowd.ws()
            for time in range(2 if framing == "slip" else 1):
                connection, _ = server.accept()
                connection.settimeout(20)
                splitter = Splitter(lambda text: None, framing)
                eventually(lambda time=time: daemon.stderr.count("connected to") > time)
                client.send(wire.Publish("/osc" + go, wire.SignalType.EVENT, time + 1))
                packets: list[bytes] = []
                while len(packets) <= len(greeting):
                    packets += splitter.feed(connection.recv(65536))
                assert packets == [*greeting, packet(go, time + 1)], "the cue, and nothing of before"
                connection.sendall(wrap(framing, packet(told, 1)))
                eventually(lambda: get(client, "/osc" + told) is not None)
                connection.close()
                eventually(lambda time=time: daemon.stderr.count("connection lost") > time)
                put(client, "/osc" + state, 0.5)
            crowd.leave()


def test_vmc() -> None:
    """All bones of a frame are on one address: they arrive all, and in their order."""
    with Device(("127.0.0.1", 1)) as avatar:
        text = at(configuration("VRChat"), avatar)
        with Daemon(osc=True, config=text) as daemon, Device(daemon.osc_address) as tracker:
            crowd = Crowd(daemon)
            watching = crowd.ws()
            subscribe(watching, "/osc/**")
            bones = [("/VMC/Ext/Bone/Pos", [f"bone{n}", *[n / 8] * 7]) for n in range(55)]
            for _ in range(3):
                tracker.send(bundle(0, *(packet(address, *arguments) for address, arguments in bones)))
                assert avatar.hear_all(len(bones)) == bones
            assert avatar.hears_nothing()
            crowd.leave()
