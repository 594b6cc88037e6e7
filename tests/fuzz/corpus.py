"""What mutations begin with: the recorded vectors, MQTT and OSC packets, what routers say to one another, requests."""

from __future__ import annotations

import functools
import json

from support import mqtt_packets as mqtt
from support.osc import bundle, packet
from support.wire_vectors import all_vectors

from clasp_edge.federation.shared import extensions
from clasp_edge.federation.shared.dedup import Route
from clasp_edge.wire import (
    Ack,
    Bundle,
    Error,
    FederationOp,
    FederationSync,
    Get,
    Hello,
    ParamValue,
    Publish,
    Query,
    Replay,
    Set,
    SignalType,
    Snapshot,
    Subscribe,
    SubscribeOptions,
    Ttl,
    TtlMode,
    Unsubscribe,
    encode,
    encode_payload,
)

ADDRESSES = ("/a/x", "/a/log/y", "/b/z", "/mqtt/t/1", "/show/q", "/x", "/lights/kitchen/level", "/osc/desk/v")
VALUES = (None, True, -1, 1 << 40, 0.5, "text", "", b"\0\xff", [1, [2.0, {"k": "v"}]], {"a": 1, "b": [None]})
FEATURES = ("param", "event", "stream", "gesture", "timeline", "federation")


def hello(name: str) -> bytes:
    """The frame."""
    return encode(Hello(1, name, FEATURES))


@functools.cache
def clasp() -> tuple[bytes, ...]:
    """Payloads of clients."""
    found = [vector.payload for vector in all_vectors() if len(vector.frame) > 12]
    for address in ADDRESSES:
        for value in VALUES:
            found.append(encode_payload(Set(address, value)))
            found += [encode_payload(Publish(address, signal, value=value)) for signal in SignalType]
        found += map(
            encode_payload,
            (
                Set(address, 1, revision=1, lock=True, ttl=Ttl(TtlMode.SLIDING, 1)),
                Set(address, 1, unlock=True, ttl=Ttl(TtlMode.ABSOLUTE, 0)),
                Publish(address, SignalType.PARAM),
                Publish(address, SignalType.STREAM, samples=(1.0, 2.0), rate=3),
                Publish(address, SignalType.GESTURE, value=1, id=7, timestamp=9),
                Bundle((Set(address, 1), Publish(address, SignalType.EVENT), Publish(address, SignalType.PARAM))),
                Get(address),
                Query(address),
                Replay(pattern=address),
                Replay(pattern="/**", limit=3),
                Subscribe(1, f"{address}/**", options=SubscribeOptions(max_rate=5, history=3)),
                Unsubscribe(1),
            ),
        )
    return tuple(found)


@functools.cache
def federation() -> tuple[bytes, ...]:
    """Payloads of other routers, above and below."""
    route = Route("other-router", 1, 2)
    frames = [
        extensions.route_frame(route, 1, 3),
        extensions.route_frame(route, 0, 1),
        extensions.checkpoint_frame(1),
        extensions.reached_frame(1),
        extensions.stored_frame(1),
        extensions.follow_frame({"/a/**": "log"}),
        extensions.lifetimes_frame({"/a/x": 5}),
    ]
    params = tuple(ParamValue(address, 1, revision=3, writer="w", timestamp=5) for address in ADDRESSES)
    messages = [
        FederationSync(op, patterns=("/a/**", "/b/**"), origin="other-router", since_revision=1) for op in FederationOp
    ]
    payloads = [frame[4:] for frame in frames]
    payloads += map(encode_payload, messages)
    payloads += map(
        encode_payload, (Snapshot(params), Ack(), Ack(address="/a/x", revision=7), Error(400, "no", "/a/x"))
    )
    return tuple(payloads) + clasp()[-40:]


@functools.cache
def mqtt_of(version: int) -> tuple[bytes, ...]:
    """Packets of one version."""
    props = {"user_property": [("a", "b")], "message_expiry_interval": 3} if version == mqtt.V5 else None
    found = [
        mqtt.connect("fuzz", version=version),
        mqtt.subscribe(version, 1, [("#", 2), ("t/+", 1), ("$share/g/t/#", 1)]),
        mqtt.unsubscribe(version, 2, ["t/+"]),
        mqtt.pingreq(),
        mqtt.disconnect(version),
        *(mqtt.ack(kind, 1, version) for kind in (mqtt.PUBACK, mqtt.PUBREC, mqtt.PUBREL, mqtt.PUBCOMP)),
    ]
    for qos in (0, 1, 2):
        for retain in (False, True):
            found += [
                mqtt.publish(version, "t/1", payload, qos=qos, retain=retain, packet_id=qos + 1, props=props)
                for payload in (b"", b"1", b"text", b'{"a": 1}', b"\xff\0", b"1e999")
            ]
    return tuple(found)


@functools.cache
def osc() -> tuple[bytes, ...]:
    """Datagrams."""
    messages = [
        packet("/a/x", 1, 2.5, "text", b"blob"),
        packet("/osc/desk/v", 1, tags="i"),
        packet("/a/{x,y}*[a-z]?", 1.0),
        packet("/b", True, None, [1, [2, 3]]),
        packet("/clasp/subscribe", "/**"),
        packet("/clasp/unsubscribe", "/**"),
    ]
    return (*messages, bundle(0, *messages), bundle(0, bundle(0, *messages)), bundle(1.9e9, *messages))


@functools.cache
def http() -> tuple[bytes, ...]:
    """Requests to the WebSocket port."""
    paths = ("/", "/metrics", "/healthz", "/status", "/clasp", "/../../etc/passwd", "/%00", "/a" * 600)
    plain = [f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode() for path in paths]
    upgrade = (
        b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: clasp\r\n\r\n"
    )
    return (*plain, upgrade, upgrade.replace(b"clasp", b"mqtt"), b"POST / HTTP/1.0\r\nContent-Length: 9\r\n\r\n")


@functools.cache
def control() -> tuple[bytes, ...]:
    """Lines to the control socket."""
    requests = ({"request": "status"}, {"request": "clients"}, {"request": "resync", "device": "desk"}, [], 1, {})
    lines = [json.dumps(request).encode() for request in requests]
    return (*lines, b"status", b"metrics", b"\xff\xfe", b"{" * 500)
