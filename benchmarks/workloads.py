"""What is measured: every workload as a command line of the load generator.

Responsible for: names, descriptions and parameters. Must not know: peers, how results are judged.

Workloads of one group are measured in the same rounds, because they are compared with each other.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Workload:
    """`seconds` bounds the sending; `count` bounds open loops in messages, too, so that they stay finite."""

    name: str
    title: str
    args: tuple[str, ...]
    group: str = ""
    seconds: float = 3.0
    count: int = 0
    warmup: int = 5000
    not_for: frozenset[str] = frozenset()
    osc: bool = False  # the publishers send OSC datagrams
    mqtt: bool = False  # publishers, subscribers or both speak MQTT
    quic: bool = False  # the load generator for QUIC
    rules: str = ""  # tables of rules that the router has, as TOML

    def runs_on(self, peer: str) -> bool:
        if self.quic or peer in QUIC_ONLY:
            return self.quic and peer in QUIC_PEERS
        return peer not in self.not_for and (self.mqtt or peer not in BROKER)

    def arguments(self, quick: bool, osc_port: int = 0, mqtt_port: int = 0) -> list[str]:
        seconds = self.seconds / 4 if quick else self.seconds
        count = self.count // 4 if quick else self.count
        bounds = ["--duration", str(seconds), *(["--count", str(count)] if count else [])]
        osc = ["--osc-port", str(osc_port)] if self.osc else []
        mqtt = ["--mqtt-port", str(mqtt_port)] if self.mqtt else []
        return [*self.args, *osc, *mqtt, *bounds, "--warmup", str(self.warmup)]


def _w(name: str, title: str, args: str, **more: object) -> Workload:
    return Workload(name, title, tuple(args.split()), **more)  # type: ignore[arg-type]


def _mqtt(name: str, title: str, args: str, *, alone: bool = False, **more: object) -> Workload:
    """`alone`: it needs CLASP, too, so a broker has no part in it."""
    return _w(name, title, args, not_for=CLASP_ONLY | BROKER if alone else CLASP_ONLY, mqtt=True, **more)


def _rule(number: int, pattern: str) -> str:
    return (
        f'[[rule]]\nid = "r{number}"\nmax_per_second = 1000000\n'
        f'trigger = {{ type = "set", pattern = "{pattern}" }}\ndo = [{{ set = "/out/{number}/{{1}}" }}]\n'
    )


RULES_ELSEWHERE = "".join(_rule(number, f"/other/{number}/*") for number in range(1000))
RULE_THAT_MATCHES = _rule(0, "/bench/*/*")

OPEN_COUNT = 3_000_000
BLIND = frozenset({"forwarder"})  # it would deliver to those who did not ask
BROKER = frozenset({"mosquitto"})  # it speaks MQTT alone
OTHERS = frozenset({"rust", "forwarder", "mosquitto"})  # rules of this form are ours
QUIC_ONLY = frozenset({"aioquic"})  # it is no router
QUIC_PEERS = QUIC_ONLY | {"ours", "rust"}
CLASP_ONLY = frozenset({"rust", "forwarder"})  # the Rust router's MQTT server delivers at QoS 0 only

WORKLOADS: tuple[Workload, ...] = (
    _w("set-1-1", "SET 1→1, window 500", "--window 500"),
    _w("set-1-1-open", "SET 1→1, open loop", "--open", count=OPEN_COUNT),
    _w("set-1-0", "SET, no subscriber, window 2,000", "--subscribers 0 --window 2000"),
    _w("event-1-1", "events 1→1, window 500", "--kind event --window 500"),
    _w("event-1-1-open", "events 1→1, open loop", "--kind event --open", count=OPEN_COUNT),
    _w("stream-1-1-open", "streams 1→1, open loop", "--kind stream --open", count=OPEN_COUNT),
    _w("fanout-10-w5", "SET 1→10, window 5", "--subscribers 10 --window 5"),
    _w("fanout-10-w200", "SET 1→10, window 200", "--subscribers 10 --window 200"),
    _w("fanout-100-w5", "SET 1→100, window 5", "--subscribers 100 --window 5", warmup=200),
    _w("fanout-100-w200", "SET 1→100, window 200", "--subscribers 100 --window 200", warmup=1000),
    _w("fanout-1000-w5", "SET 1→1,000, window 5", "--subscribers 1000 --window 5", warmup=50),
    _w("fanout-1000-w200", "SET 1→1,000, window 200", "--subscribers 1000 --window 200", warmup=200),
    _w("set-4-4", "SET 4→4, window 200 each", "--publishers 4 --subscribers 4 --window 200"),
    _w("set-64-4", "SET 64→4, window 50 each", "--publishers 64 --subscribers 4 --window 50"),
    _w("set-64-4-w5", "SET 64→4, window 5 each", "--publishers 64 --subscribers 4 --window 5"),
    # Both warmed up by one message for each address of the larger run, so that the router knows all of them.
    _w("addresses-10", "SET 1→1 over 10 addresses", "--addresses 10", group="addresses", warmup=100_000),
    _w("addresses-100k", "SET 1→1 over 100,000 addresses", "--addresses 100000", group="addresses", warmup=100_000),
    _w("addresses-new", "SET 1→1, 100,000 new addresses", "--addresses 100000", group="addresses", count=100_000,
       warmup=0, seconds=60.0),
    _w("others-0", "SET 1→1, no other subscriptions", "--window 500", group="others"),
    _w("others-10k", "SET 1→1, 10,000 that do not match", "--window 500 --nonmatching 10000", group="others",
       not_for=BLIND),
    _w("ping-pong", "SET 1→1, one at a time", "--ping-pong"),
    _w("slow-0", "SET 1→4, window 200", "--subscribers 4 --window 200", group="slow"),
    _w("slow-1", "the same beside one that never reads", "--subscribers 4 --window 200 --slow 1", group="slow"),
    _w("slow-1-event", "events 1→4 beside one that never reads", "--kind event --subscribers 4 --window 200 --slow 1",
       group="slow"),
    _w("rate-10k", "SET 1→1 at 10,000/s", "--rate 10000", group="rate"),
    _w("rate-10k-rule", "the same, each sets off a rule", "--rate 10000", group="rate", not_for=OTHERS,
       rules=RULE_THAT_MATCHES),
    _w("rules-0", "SET 1→1, no rules", "--window 500", group="rules", not_for=OTHERS),
    _w("rules-1k", "SET 1→1, 1,000 rules elsewhere", "--window 500", group="rules", not_for=OTHERS,
       rules=RULES_ELSEWHERE),
    # Datagrams that find no room are lost; a window keeps the receive buffer from overflowing, whoever is slower.
    _w("osc-in", "OSC in → 1 CLASP subscriber, window 200", "--window 200", not_for=BLIND, osc=True),
    _w("osc-in-rate", "OSC in → 1 CLASP subscriber at 10,000/s", "--rate 10000", not_for=BLIND, osc=True),
    _mqtt("mqtt-qos0", "MQTT QoS 0 1→1, window 500", "--kind qos0 --window 500"),
    _mqtt("mqtt-qos0-open", "MQTT QoS 0 1→1, open loop", "--kind qos0 --open", count=OPEN_COUNT),
    _mqtt("mqtt-qos1", "MQTT QoS 1 1→1, window 500", "--kind qos1 --window 500"),
    _mqtt("mqtt-fanout-w5", "MQTT QoS 0 1→100, window 5", "--kind qos0 --subscribers 100 --window 5", warmup=200),
    _mqtt("mqtt-fanout-w200", "MQTT QoS 0 1→100, window 200", "--kind qos0 --subscribers 100 --window 200",
          warmup=1000),
    _mqtt("mqtt-ping-pong", "MQTT QoS 0 1→1, one at a time", "--kind qos0 --ping-pong"),
    _mqtt("mqtt-ping-pong-qos1", "MQTT QoS 1 1→1, one at a time", "--kind qos1 --ping-pong"),
    _mqtt("mqtt-to-clasp", "MQTT QoS 0 → 1 CLASP subscriber, window 500", "--kind qos0 --hear clasp --window 500",
          alone=True),
    _mqtt("set-to-mqtt", "SET → 1 MQTT subscriber, window 500", "--kind set --hear mqtt --window 500", alone=True),
    _mqtt("event-to-mqtt", "events → 1 MQTT subscriber, window 500", "--kind event --hear mqtt --window 500",
          alone=True),
    # The reference takes what one read brings for one message, and loses what came with it.
    _w("quic-set-1-1", "SET 1→1 over QUIC, window 500", "--window 500", quic=True),
    _w("quic-set-1-1-w64", "SET 1→1 over QUIC, window 64", "--window 64", quic=True),
    _w("quic-ping-pong", "SET 1→1 over QUIC, one at a time", "--ping-pong", quic=True, warmup=200),
)  # fmt: skip

# Measured by footprint.py, not by load.
FOOTPRINTS = {
    "startup": "start to ready",
    "idle": "idle, WebSocket only",
    "idle-all": "idle, everything on",
    "sessions": "1,000 idle sessions",
    "params": "100,000 params",
    "rules": "10,000 rules",
    # Measured by attacks.py, at this daemon only: how long an honest client waits meanwhile.
    "attack-patterns": "beside costly patterns and new addresses",
    "attack-get": "beside GETs of costly patterns over 10,000 params",
    "attack-subscribe": "beside subscriptions to all of 10,000 params",
    "attack-replay": "beside REPLAYs of the whole log",
    "attack-bundles": "beside bundles of 8,000 SETs",
    "attack-routers": "beside routers that declare 1,000 patterns",
    "attack-osc": "beside OSC wildcards over 10,000 params",
    "attack-osc-state": "beside 256 OSC devices that ask for 10,000 params",
    "attack-osc-burst": "beside a scene of 500 params for 256 OSC devices",
    "attack-osc-sets": "beside 200 SETs at once, again and again, for 256 OSC devices",
    "attack-osc-events": "the same with events",
    "attack-strangers": "beside bundles before HELLO",
    "quic-sessions": "1,000 idle QUIC connections",
    "quic-handshakes": "QUIC handshakes",
}
