"""Finding and being found, in a network of namespaces: by our finder, by python-zeroconf, and by an uplink."""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest
from support.client import WsClient
from support.console import ask
from support.daemon import Daemon
from support.lan import Lan, LanHost
from support.live import eventually, get, put
from support.netns import why_not
from support.tun_switch import inside
from zeroconf import DNSOutgoing, IPVersion, ServiceBrowser, ServiceInfo, Zeroconf
from zeroconf.const import _FLAGS_AA as FLAGS_AA
from zeroconf.const import _FLAGS_QR_RESPONSE as FLAGS_QR_RESPONSE

from clasp_edge.discovery.finder import find
from clasp_edge.discovery.router import FoundRouter

CLASP = "_clasp._tcp.local."


@pytest.fixture(scope="module")
def lan() -> Iterator[Lan]:
    if reason := why_not():
        pytest.skip(reason)
    with Lan("hub", "box", "other") as made:
        yield made


def found_from(host: LanHost, timeout_s: float = 2.0) -> list[FoundRouter]:
    with inside(host.namespace):
        return asyncio.run(find(timeout_s))


class Browser:
    """python-zeroconf's, on a host."""

    def __init__(self, host: LanHost, kind: str = CLASP) -> None:
        self.kind = kind
        with inside(host.namespace):
            self.zeroconf = Zeroconf(interfaces=[host.address], ip_version=IPVersion.V4Only)
        self.names: set[str] = set()
        self._browser = ServiceBrowser(self.zeroconf, kind, handlers=[self._changed])

    def _changed(self, zeroconf: Zeroconf, service_type: str, name: str, state_change: object) -> None:
        (self.names.discard if "Removed" in str(state_change) else self.names.add)(name)

    def info(self, name: str) -> ServiceInfo:
        found = self.zeroconf.get_service_info(self.kind, name, timeout=5000)
        assert found is not None
        return found

    def close(self) -> None:
        self._browser.cancel()
        self.zeroconf.close()


def test_both_ways_find_it_and_tell_the_same(lan: Lan) -> None:
    for mdns, listen in (("on", "off"), ("off", "0.0.0.0:7331")):
        with lan["hub"].daemon(name="front of house", discovery__mdns=mdns, discovery__listen=listen):
            (router,) = eventually(lambda: found_from(lan["box"]))
            assert (router.name, router.host, router.ws_port) == ("front of house", lan["hub"].address, 7330)
            assert router.id.startswith("edge-")
            assert router.how == ("mdns" if mdns == "on" else "broadcast")
            assert router.url == "ws://10.78.0.1:7330/clasp"


def forged(instance: str, ttl: int) -> bytes:
    """An answer nobody asked for: a service, at an address that the sender chooses. With a ttl of 0 it has gone."""
    record = ServiceInfo(
        CLASP, f"{instance}.{CLASP}", port=1, server=f"{instance}.local.", addresses=[b"\x0a\x4e\x00\x63"],
        properties={"name": instance, "id": "edge-forged", "ws": "1"}, host_ttl=ttl, other_ttl=ttl,
    )  # fmt: skip
    answer = DNSOutgoing(FLAGS_QR_RESPONSE | FLAGS_AA)
    for each in (record.dns_pointer(), record.dns_service(), record.dns_text(), *record.dns_addresses()):
        answer.add_answer_at_time(each, 0)
    return answer.packets()[0]


def test_a_flood_of_forged_answers_is_no_trouble(lan: Lan) -> None:
    with lan["hub"].daemon(name="foh", discovery__mdns="on", discovery__listen="off") as hub:
        eventually(lambda: found_from(lan["box"]))
        client = client_on(lan["hub"])
        packets = [forged(f"foh {n}", 120) for n in range(100)] + [forged("foh", 120), forged("foh", 0), b"\xff" * 1400]
        with inside(lan["other"].namespace):
            liar = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        with liar:
            liar.bind((lan["other"].address, 5353))
            liar.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(lan["other"].address))

            def flooded() -> bool:
                for packet in packets:
                    liar.sendto(packet, ("224.0.0.251", 5353))
                return bool(ask(hub.control_path, request="status")["result"]["discovery"]["mdns_dropped"] > 1000)

            eventually(flooded)
            put(client, "/still/served", 1)
        hub.assert_healthy()
        # The router is found as what it is: who looks asks anew, and believes no answer to somebody else's question.
        routers = eventually(lambda: found_from(lan["box"]))
        assert [(router.name, router.host, router.ws_port) for router in routers] == [("foh", lan["hub"].address, 7330)]
        client.close()


def test_zeroconf_finds_every_service_and_hears_the_goodbye(lan: Lan) -> None:
    daemon = lan["hub"].daemon(name="hub.a", mqtt__listen="0.0.0.0:1883", osc__listen="0.0.0.0:8000").start()
    browsers = {kind: Browser(lan["box"], f"{kind}.local.") for kind in ("_clasp._tcp", "_mqtt._tcp", "_osc._udp")}
    try:
        for kind, port in (("_clasp._tcp", 7330), ("_mqtt._tcp", 1883), ("_osc._udp", 8000)):
            browser = browsers[kind]
            (name,) = eventually(lambda browser=browser: browser.names)  # type: ignore[misc]
            info = browser.info(name)
            assert name == f"hub-a.{kind}.local."
            assert (info.port, info.parsed_addresses()) == (port, [lan["hub"].address])
        said = browsers["_clasp._tcp"].info("hub-a._clasp._tcp.local.").decoded_properties
        assert said["version"] == "2"
        assert (said["name"], said["features"], said["ws"], said["path"]) == ("hub.a", "pesgt", "7330", "/clasp")
        daemon.stop()
        eventually(lambda: not browsers["_clasp._tcp"].names)
    finally:
        for browser in browsers.values():
            browser.close()
        daemon.close()


def test_two_of_one_name_are_told_apart(lan: Lan) -> None:
    with lan["hub"].daemon(name="stage"), lan["other"].daemon(name="stage"):
        browser = Browser(lan["box"])
        eventually(lambda: browser.names == {"stage.local.", f"stage.{CLASP}", f"stage-2.{CLASP}"} - {"stage.local."})
        browser.close()
        found = eventually(lambda: {router.id: router for router in found_from(lan["box"])})
        assert len(found) == 2


def test_a_change_of_the_network_is_followed(lan: Lan) -> None:
    lan.unplug("hub")
    try:
        with lan["hub"].daemon(name="late", discovery__listen="off"):
            lan.plug("hub")
            eventually(lambda: found_from(lan["box"], 1.0), timeout=20)
    finally:
        lan.unplug("hub")
        lan.plug("hub")


def test_what_listens_on_loopback_is_not_announced(lan: Lan) -> None:
    with lan["hub"].daemon(name="shy", websocket__listen="127.0.0.1:7330", discovery__listen="off") as daemon:
        eventually(lambda: "nothing is announced" in daemon.stderr)
        assert found_from(lan["box"], 1.0) == []


def client_on(host: LanHost) -> WsClient:
    with inside(host.namespace):
        client = WsClient("ws://127.0.0.1:7330")
    client.hello()
    client.sync()
    return client


def carries(lan: Lan, hub: Daemon, box: Daemon) -> None:
    """A param written on the box arrives at the hub."""
    writer, reader = client_on(lan["box"]), client_on(lan["hub"])
    put(writer, "/box/x", 1)
    eventually(lambda: get(reader, "/box/x") is not None)
    writer.close()
    reader.close()


def test_an_uplink_finds_its_hub_by_name(lan: Lan) -> None:
    uplink = '[uplink.main]\nurl = "discover:foh"\nowns = ["/box/**"]\n'
    with lan["box"].daemon(config=uplink, name="box") as box:
        eventually(lambda: 'no router called "foh" answers in the local network' in box.stderr)
        with lan["other"].daemon(name="other"), lan["hub"].daemon(name="foh") as hub:
            carries(lan, hub, box)


def test_the_only_router_is_the_hub_but_one_is_not_its_own(lan: Lan) -> None:
    uplink = '[uplink.main]\nurl = "discover:"\nowns = ["/box/**"]\n'
    with lan["hub"].daemon(name="foh") as hub:
        with lan["box"].daemon(config=uplink, name="box") as box:
            carries(lan, hub, box)
        with lan["other"].daemon(name="other"), lan["box"].daemon(config=uplink, name="box") as box:
            eventually(lambda: "more than one router answers: foh (10.78.0.1), other (10.78.0.3)" in box.stderr)


def test_a_pinned_hub_is_told_from_one_that_pretends(lan: Lan) -> None:
    secure = {"websocket__tls_listen": "0.0.0.0:7331", "websocket__listen": "0.0.0.0:7330", "name": "foh"}
    with lan["hub"].daemon(**secure) as hub, lan["other"].daemon(**secure) as liar:
        pin = found_from(lan["hub"])[0].fingerprint
        routers = eventually(lambda: {each.host: each for each in found_from(lan["box"]) if each.fingerprint})
        pin = routers[lan["hub"].address].fingerprint
        assert routers[lan["other"].address].fingerprint != pin
        uplink = f'[uplink.main]\nurl = "discover:foh"\nowns = ["/box/**"]\ntoken = "t"\ntls_pin = "{pin}"\n'
        with lan["box"].daemon(config=uplink, name="box") as box:
            carries(lan, hub, box)
        assert "edge" not in "".join(line for line in liar.stderr.splitlines() if "box" in line)


def test_the_command_line_lists_and_uses_them(lan: Lan) -> None:
    edge = (sys.executable, "-m", "clasp_edge")
    nobody = lan["box"].run(*edge, "discover", "--for", "0.5")
    assert (nobody.returncode, nobody.stdout) == (1, "")
    assert "no router answers" in nobody.stderr
    with lan["hub"].daemon(name="foh"):
        listed = eventually(lambda: lan["box"].run(*edge, "discover", "--json").stdout)
        assert json.loads(listed)["url"] == "ws://10.78.0.1:7330/clasp"
        assert lan["box"].run(*edge, "set", "--name", "foh", "/a", "1").returncode == 0
        assert lan["box"].run(*edge, "get", "--url", "discover:", "/a").stdout == "1\n"
        refused = lan["box"].run(*edge, "get", "--name", "foh", "--token", "t", "/a")
        assert refused.returncode == 3
        assert "--tls-pin" in refused.stderr


def test_a_network_without_ipv4(lan: Lan) -> None:
    """A cable between two boxes and nobody who gives addresses: those of the link will do."""
    try:
        for name in ("hub", "box"):
            lan.unplug(name)
        uplink = '[uplink.main]\nurl = "discover:foh"\nowns = ["/box/**"]\n'
        everywhere = {"websocket__listen": ":7330", "discovery__listen": "off"}
        with lan["hub"].daemon(name="foh", **everywhere) as hub:
            (router,) = eventually(lambda: found_from(lan["box"]))
            assert router.host.startswith("fe80::")
            assert router.host.endswith("%eth0")
            assert router.url == f"ws://[{router.host}]:7330/clasp"
            with lan["box"].daemon(config=uplink, name="box", **everywhere) as box:
                carries(lan, hub, box)
    finally:
        for name in ("hub", "box"):
            lan.plug(name)


def test_over_ipv6_only_what_listens_there_is_found(lan: Lan) -> None:
    with lan["hub"].daemon(name="four", discovery__listen="off"):
        assert {router.host for router in eventually(lambda: found_from(lan["box"]))} == {lan["hub"].address}


def test_an_address_that_comes_later_is_announced_as_well(lan: Lan) -> None:
    with lan["hub"].daemon(name="more", websocket__listen=":7330", discovery__listen="off") as hub:
        eventually(lambda: "mdns: announced on" in hub.stderr)
        with inside(lan["hub"].namespace):
            subprocess.run(["ip", "address", "add", "fd78::9/64", "dev", "eth0", "nodad"], check=True)
        try:
            browser = Browser(lan["box"])
            eventually(
                lambda: browser.names and "fd78::9" in browser.info(f"more.{CLASP}").parsed_addresses(), timeout=40
            )
            browser.close()
        finally:
            with inside(lan["hub"].namespace):
                subprocess.run(["ip", "address", "del", "fd78::9/64", "dev", "eth0"], check=True)
