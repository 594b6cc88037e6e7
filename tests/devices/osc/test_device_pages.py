"""The configurations that docs/devices.md gives for devices, as they stand there, with stand-ins that do what such
devices do in public: only addresses and ports are replaced by those of the stand-ins."""

from __future__ import annotations

import re
import socket
import struct
from pathlib import Path

from support.daemon import Daemon
from support.live import Crowd, eventually, get, put, subscribe
from support.osc import Device, bundle, packet

from clasp_edge import wire
from clasp_edge.devices.osc.framing import Splitter, wrap

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


def test_qlab() -> None:
    """A cue is fired once: neither the state at the start nor a connection that comes back fires it again."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(10)
        text = configuration("QLab").replace("192.168.1.40", "127.0.0.1")
        text = text.replace("port = 53000", f"port = {server.getsockname()[1]}")
        with Daemon(osc=True, config=text) as daemon:
            crowd = Crowd(daemon)
            client = crowd.ws()
            for go in range(2):
                connection, _ = server.accept()
                connection.settimeout(10)
                splitter = Splitter(lambda text: None)
                eventually(lambda go=go: daemon.stderr.count("connected to") > go)
                client.send(wire.Publish("/osc/go", wire.SignalType.EVENT, go + 1))
                packets: list[bytes] = []
                while not packets:
                    packets += splitter.feed(connection.recv(65536))
                assert packets == [packet("/go", go + 1)], "the cue, and nothing of before"
                connection.sendall(wrap("slip", packet("/update/workspace/1", 1)))
                eventually(lambda: get(client, "/osc/update/workspace/1") is not None)
                connection.close()
                eventually(lambda go=go: daemon.stderr.count("connection lost") > go)
                put(client, "/osc/cue/1/level", 0.5)
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
