"""What types and ranges cannot say about a configuration: patterns, scopes, and keys that must agree.

Runs on parts that are already well typed. Secrets never appear in a sentence.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from ipaddress import ip_address, ip_network

from clasp_edge.config.broker import parse_broker
from clasp_edge.config.endpoint import DISCOVER, parse_endpoint
from clasp_edge.config.listen import parse_listen
from clasp_edge.config.model import (
    PAIR_UPLINK,
    Bridge,
    BridgeMap,
    ClientCertificate,
    Config,
    Console,
    Federation,
    Journal,
    Limits,
    Mqtt,
    MqttMount,
    Network,
    Osc,
    OscDevice,
    OscTarget,
    Pair,
    Section,
    Security,
    Strategy,
    Token,
    Uplink,
    Websocket,
)
from clasp_edge.config.osc_text import osc_message_fault
from clasp_edge.config.spelling import foreign_spelling

# What a browser sends as Origin (RFC 6454, 7): no path, not even "/".
ORIGIN = re.compile(r"\*|null|[a-z][a-z0-9+.-]*://[^/?#@\s]+", re.IGNORECASE)

# wire.md 4: what an address may be, a pattern may be.
MAX_PATTERN_BYTES = 1024
MAX_PATTERN_SEGMENTS = 64

# Of what goes before a device's addresses, so that these have room (wire.md 4).
MAX_OSC_BASE = 320

# Each may stand for two (router.md 8.6 allows 1,000 in a declaration).
MAX_UPLINK_PATTERNS = 500

# security.md 3: the actions and their short forms, in any case; with "!", writing without the reading it implies.
ACTIONS = frozenset({"read", "r", "write", "w", "write!", "w!", "admin", "a", "*"})


# Part of an address, and what snapshots name as the writer, which has 36 bytes.
UPLINK_NAME = re.compile(r"[A-Za-z0-9_-]{1,28}")
ROUTER_ID = re.compile(r"[A-Za-z0-9_.-]{0,64}")
CERTIFICATE_NAME = re.compile(r"(CN|DNS|URI|email|IP Address):.+")
TRUST_ANCHOR = re.compile(r"did:key:z6Mk[1-9A-HJ-NP-Za-km-z]{44}|ed25519:[0-9a-fA-F]{64}")
TLS_PIN = re.compile(r"sha256:[0-9a-fA-F]{64}")
BRIDGE_NAME = re.compile(r"[A-Za-z0-9_-]{1,28}")


def disagreements(part: Section) -> Iterator[tuple[str, str]]:
    """(key relative to `part`, sentence) for each thing in `part` that cannot be meant."""
    match part:
        case Strategy():
            if reason := pattern_fault(part.pattern):
                yield "pattern", reason
        case Token():
            for index, scope in enumerate(part.scopes):
                if reason := scope_fault(scope):
                    yield f"scopes[{index}]", reason
        case ClientCertificate():
            if not CERTIFICATE_NAME.fullmatch(part.name):
                yield "name", 'is "CN:..." of the subject or an alternative name: "DNS:...", "URI:...", "email:..."'
            for index, scope in enumerate(part.scopes):
                if reason := scope_fault(scope):
                    yield f"scopes[{index}]", reason
        case Network():
            yield from _networks("networks", part.networks)
            for index, scope in enumerate(part.scopes):
                if reason := scope_fault(scope):
                    yield f"scopes[{index}]", reason
        case Journal():
            for index, pattern in enumerate(part.patterns):
                if reason := pattern_fault(pattern):
                    yield f"patterns[{index}]", reason
        case Limits():
            yield from _limits(part)
        case Security():
            yield from _security(part)
        case OscTarget() | OscDevice():
            yield from _osc_device(part)
        case Osc():
            yield from _osc(part)
        case BridgeMap():
            yield from _bridge_map(part)
        case Bridge():
            yield from _bridge(part)
        case Mqtt():
            yield from _mqtt(part)
        case MqttMount():
            yield from _mount(part)
        case Uplink():
            yield from _uplink(part)
        case Federation():
            if not ROUTER_ID.fullmatch(part.router_id):
                yield "router_id", f'is letters, digits, "_", "." and "-", not "{part.router_id}"'
        case Pair():
            yield from _pair(part)
        case Console():
            if part.socket not in ("auto", "off") and not part.socket.startswith(("/", "~/")):
                yield "socket", f'must be "auto", "off" or a path that begins with "/", not "{part.socket}"'
            yield from _networks("metrics_from", part.metrics_from)
        case Websocket():
            for index, origin in enumerate(part.origins):
                if not ORIGIN.fullmatch(origin):
                    yield f"origins[{index}]", f'is an origin such as "https://show.example.org", not "{origin}"'
        case Config():
            yield from _listeners(part)
            yield from _of_pair(part)
            if part.tls.key and not part.tls.certificate:
                yield "tls.key", "without tls.certificate it is of no use"
            if part.tls.client_ca and part.quic.listen is not None:
                yield "quic.listen", "no client certificate is asked for over QUIC: not together with tls.client_ca"
            for name in part.bridge:
                if not BRIDGE_NAME.fullmatch(name):
                    yield f"bridge.{name}", "a bridge's name is 1 to 28 letters, digits, - and _"
            for name in part.uplink:
                if not UPLINK_NAME.fullmatch(name):
                    yield f"uplink.{name}", "an uplink's name is 1 to 28 letters, digits, - and _"


def pattern_fault(pattern: str) -> str | None:
    """Why `pattern` is not an address pattern (wire.md 4), or None."""
    if not pattern.startswith("/"):
        foreign = foreign_spelling(f"/{pattern}")
        return f'an address pattern starts with "/": "{pattern}"' + (f"; and {foreign}" if foreign else "")
    segments = pattern[1:].split("/")
    if "" in segments[:-1]:
        return f'an address pattern has no empty segment: "{pattern}"'
    if len(segments) > MAX_PATTERN_SEGMENTS or len(pattern.encode()) > MAX_PATTERN_BYTES:
        return f"an address pattern has at most {MAX_PATTERN_SEGMENTS} segments and {MAX_PATTERN_BYTES} bytes"
    return foreign_spelling(pattern)


def scope_fault(scope: str) -> str | None:
    """Why `scope` is not `action:pattern` (security.md 3), or None."""
    action, colon, pattern = scope.partition(":")
    if not colon:
        return f'a scope is "action:pattern", for example "read:/**": "{scope}"'
    if action.strip().lower() not in ACTIONS:
        return f'the action of a scope is read, write, write! or admin, not "{action}"'
    return pattern_fault(pattern.strip())


def _limits(limits: Limits) -> Iterator[tuple[str, str]]:
    arena_kib = limits.arena_mib * 1024
    for key in ("outbox_kib", "event_backlog_kib"):
        if (value := getattr(limits, key)) > arena_kib:
            yield key, f"{value} KiB for one session is more than the whole arena (arena_mib = {limits.arena_mib})"


TWO_SECRETS = "says a second time what stands beside it: one of the two"


def _security(security: Security) -> Iterator[tuple[str, str]]:
    for index, anchor in enumerate(security.trust_anchors):
        if not TRUST_ANCHOR.fullmatch(anchor):
            yield f"trust_anchors[{index}]", 'is a public key: "did:key:z..." or "ed25519:" and 64 hex digits'
    first: dict[str, int] = {}
    for index, token in enumerate(security.token):
        if bool(token.token) == bool(token.token_file):
            yield f"token[{index}]", "needs either token or token_file" if not token.token else TWO_SECRETS
        if token.token and (earlier := first.setdefault(token.token, index)) != index:
            yield f"token[{index}].token", f"the same token as security.token[{earlier}]"


def _osc(osc: Osc) -> Iterator[tuple[str, str]]:
    if osc.namespace and ("*" in osc.namespace or osc.namespace.endswith("/") or pattern_fault(osc.namespace)):
        yield "namespace", f'must be empty or an address such as "/osc", not "{osc.namespace}"'
    yield from _networks("allow", osc.allow)
    for index, scope in enumerate(osc.scopes):
        if reason := scope_fault(scope):
            yield f"scopes[{index}]", reason
    yield from _patterns("events", osc.events)
    for index, text in enumerate(osc.also_listen):
        try:
            listening = parse_listen(text)
        except ValueError as error:
            yield f"also_listen[{index}]", str(error)
        else:
            if listening is None:
                yield f"also_listen[{index}]", 'a place to listen, not "off"'
    for index, text in enumerate(osc.groups):
        try:
            sound = ip_address(text).is_multicast
        except ValueError:
            sound = False
        if not sound:
            yield f"groups[{index}]", f'must be a multicast address such as "239.0.0.1", not "{text[:60]}"'
    first: dict[str, str] = {}
    for kind, devices in (("target", osc.target), ("device", osc.device)):
        for index, device in enumerate(devices):
            here = f"{kind}[{index}]"
            if (earlier := first.setdefault(device.name, here)) != here:
                yield f"{here}.name", f"the same name as osc.{earlier}"
            if len(osc.namespace) + len(device.prefix) > MAX_OSC_BASE:
                yield f"{here}.prefix", f"with the namespace longer than {MAX_OSC_BASE} characters"
    if osc.listen is None and (osc.tcp_listen is not None or osc.target or osc.device or osc.also_listen):
        yield "listen", "osc is off, so nothing else of it can be on"


def _osc_device(device: OscTarget | OscDevice) -> Iterator[tuple[str, str]]:
    for key in ("patterns", "outside", "events"):
        yield from _patterns(key, getattr(device, key))
    for pattern in device.types:
        if reason := pattern_fault(pattern):
            yield f"types.{pattern}", reason
    if device.prefix and ("*" in device.prefix or device.prefix.endswith("/") or pattern_fault(device.prefix)):
        yield "prefix", f'must be empty or an address such as "/foh", not "{device.prefix}"'
    for index, scope in enumerate(device.scopes):
        if reason := scope_fault(scope):
            yield f"scopes[{index}]", reason
    for index, text in enumerate((device.keep_alive.message, *device.queries)):
        if (text or index) and (reason := osc_message_fault(text)):
            yield ("keep_alive.message" if index == 0 else f"queries[{index - 1}]"), reason
    if isinstance(device, OscDevice):
        if not device.host and not device.source:
            yield "source", "a device needs a source, a host or both"
        if bool(device.host) != bool(device.port):
            yield "port", "host and port go together"
        if not device.host and (device.keep_alive.message or device.queries or device.patterns):
            yield "host", "a device that is sent something without asking needs a host and a port"


def _patterns(key: str, patterns: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    for index, pattern in enumerate(patterns):
        if reason := pattern_fault(pattern):
            yield f"{key}[{index}]", reason


def _networks(key: str, networks: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    for index, network in enumerate(networks):
        try:
            ip_network(network)
        except ValueError:
            yield f"{key}[{index}]", f'must be a network such as "192.168.0.0/16" or an address, not "{network}"'


def _bridge(bridge: Bridge) -> Iterator[tuple[str, str]]:
    tls = False
    for index, text in enumerate(bridge.brokers):
        try:
            tls = parse_broker(text).tls or tls
        except ValueError as error:
            yield f"brokers[{index}]", str(error)
    if not bridge.map:
        yield "map", "a bridge needs at least one [[bridge.NAME.map]]"
    if bridge.password and bridge.password_file:
        yield "password_file", TWO_SECRETS
    if (bridge.password or bridge.password_file) and not bridge.username:
        yield "password", "without a username it would not be sent"
    if bridge.tls_key and not bridge.tls_cert:
        yield "tls_key", "without tls_cert it is of no use"
    if (bridge.tls_ca or bridge.tls_cert) and not tls:
        yield "tls_ca" if bridge.tls_ca else "tls_cert", 'none of the brokers begins with "mqtts://"'


def _pair(pair: Pair) -> Iterator[tuple[str, str]]:
    if pair.url:
        try:
            endpoint = parse_endpoint(pair.url)
        except ValueError as error:
            yield "url", str(error)
        else:
            if endpoint.scheme == DISCOVER:
                yield "url", "the other router of a pair is named by its address, not discovered"
            elif (pair.tls_ca or pair.tls_cert) and not endpoint.tls:
                yield "tls_ca" if pair.tls_ca else "tls_cert", 'the url does not begin with "wss://" or "quic://"'
    if not ROUTER_ID.fullmatch(pair.router_id):
        yield "router_id", f'is letters, digits, "_", "." and "-", not "{pair.router_id}"'
    if pair.token and pair.token_file:
        yield "token_file", TWO_SECRETS
    if pair.tls_pin and not TLS_PIN.fullmatch(pair.tls_pin):
        yield "tls_pin", 'must be "sha256:" and 64 hex digits, as `clasp-edge status` of the other router tells it'
    if pair.tls_key and not pair.tls_cert:
        yield "tls_key", "without tls_cert it is of no use"


def _of_pair(config: Config) -> Iterator[tuple[str, str]]:
    """What a pair needs of the rest of the configuration."""
    if not config.federation.pair.on:
        return
    if config.journal.mode not in ("group", "strict"):
        yield "federation.pair", f'needs journal.mode "group" or "strict", not "{config.journal.mode}"'
    if not config.federation.keep_s:
        yield "federation.keep_s", "0 would keep nothing for the other router of the pair while it is away"
    if PAIR_UPLINK in config.uplink:
        yield f"uplink.{PAIR_UPLINK}", "is the name of the link of federation.pair: use another one"
    if config.federation.router_id and config.federation.router_id == config.federation.pair.router_id:
        yield "federation.pair.router_id", "is this router's own federation.router_id; the other one's belongs here"


def _uplink(uplink: Uplink) -> Iterator[tuple[str, str]]:
    tls = False
    if not uplink.urls:
        yield "url", "an uplink needs at least one address of a router"
    for index, text in enumerate(uplink.urls):
        key = "url" if isinstance(uplink.url, str) else f"url[{index}]"
        try:
            endpoint = parse_endpoint(text)
        except ValueError as error:
            yield key, str(error)
            continue
        tls = tls or endpoint.tls
        if endpoint.scheme == DISCOVER:
            tls = tls or bool(uplink.tls_pin)
            if (uplink.token or uplink.token_file) and not uplink.tls_pin:
                yield (
                    key,
                    "with a token, discover: needs tls_pin: anybody there could answer, and get it",
                )
    if uplink.token and uplink.token_file:
        yield "token_file", TWO_SECRETS
    if not uplink.owns and not uplink.wants:
        yield (
            "owns",
            "an uplink without patterns in owns or wants would carry nothing; with a name = ... it owns /NAME/**",
        )
    for key in ("owns", "wants"):
        for index, pattern in enumerate(getattr(uplink, key)):
            if reason := pattern_fault(pattern):
                yield f"{key}[{index}]", reason
    if len(uplink.owns) + len(uplink.wants) > MAX_UPLINK_PATTERNS:
        yield "owns", f"with wants, at most {MAX_UPLINK_PATTERNS} patterns: a hub takes no more than twice as many"
    for pattern in uplink.policy:
        if reason := pattern_fault(pattern):
            yield "policy", reason
    if uplink.tls_pin and not TLS_PIN.fullmatch(uplink.tls_pin):
        yield "tls_pin", 'must be "sha256:" and 64 hex digits, as `clasp-edge status` of the hub tells it'
    if uplink.tls_key and not uplink.tls_cert:
        yield "tls_key", "without tls_cert it is of no use"
    if (uplink.tls_ca or uplink.tls_cert) and not tls:
        yield "tls_ca" if uplink.tls_ca else "tls_cert", 'none of the addresses begins with "wss://" or "quic://"'


def _bridge_map(part: BridgeMap) -> Iterator[tuple[str, str]]:
    if reason := topic_fault(part.topic):
        yield "topic", reason
    elif part.direction != "in" and part.topic.startswith("$"):
        yield "topic", 'nobody may publish to topics with "$" in front; only direction = "in" is possible'
    if reason := pattern_fault(part.address):
        yield "address", reason
        return
    if part.policy == "log" and part.qos == 0:
        yield "policy", '"log" needs qos 1 or 2: with qos 0 no broker says what it has got'
    yield from _same_wildcards(part.topic, part.address)


def _mount(part: MqttMount) -> Iterator[tuple[str, str]]:
    if reason := topic_fault(part.topic):
        yield "topic", reason
    elif part.topic.startswith("$"):
        yield "topic", 'topics with "$" in front are the server\'s own'
    if reason := pattern_fault(part.address):
        yield "address", reason
        return
    yield from _same_wildcards(part.topic, part.address)


def _same_wildcards(topic_filter: str, pattern: str) -> Iterator[tuple[str, str]]:
    topic = [{"+": "*", "#": "**"}[level] for level in topic_filter.split("/") if level in ("+", "#")]
    address = [segment for segment in pattern.split("/") if "*" in segment]
    if any(segment not in ("*", "**") for segment in address):
        yield "address", 'in a map "*" stands for a whole segment'
    elif "**" in address and not pattern.endswith("/**"):
        yield "address", 'in a map "**" is the last segment, as "#" is'
    elif topic != address:
        yield "address", 'needs the wildcards of the topic in the same order: "+" as "*", "#" as "**"'


def is_topic_filter(text: str) -> bool:
    """Whether a pattern in `[mqtt]` is one of topics, as MQTT writes them, and not one of addresses."""
    return not text.startswith("/") or any(level in ("+", "#") for level in text.split("/"))


def topic_fault(topic: str) -> str | None:
    """Why `topic` is not a topic filter (MQTT 5.0, 4.7.1), or None."""
    levels = topic.split("/")
    if "\0" in topic:
        return "a topic has no character 0"
    if any(("+" in level or "#" in level) and len(level) > 1 for level in levels) or "#" in levels[:-1]:
        return f'in a topic "+" is a whole level and "#" is the last one: "{topic}"'
    if topic.startswith("$share/"):
        return "a bridge has no part in a shared subscription"
    return None


def _mqtt(mqtt: Mqtt) -> Iterator[tuple[str, str]]:
    bad = "*" in mqtt.namespace or mqtt.namespace.endswith("/") or pattern_fault(mqtt.namespace)
    if mqtt.namespace and bad:
        yield "namespace", f'must be an address such as "/mqtt", or "" for all of the tree, not "{mqtt.namespace}"'
    for index, text in enumerate(mqtt.events):
        if is_topic_filter(text):
            if fault := topic_fault(text) or (None if text else "an empty topic filter"):
                yield f"events[{index}]", fault
        elif fault := pattern_fault(text):
            yield f"events[{index}]", fault


def _listeners(config: Config) -> Iterator[tuple[str, str]]:
    taken: dict[object, str] = {}
    listeners = (
        ("websocket.listen", config.websocket.listen),
        ("websocket.tls_listen", config.websocket.tls_listen),
        ("tcp.listen", config.tcp.listen),
        ("tcp.tls_listen", config.tcp.tls_listen),
        ("mqtt.listen", config.mqtt.listen),
        ("mqtt.tls_listen", config.mqtt.tls_listen),
        ("osc.tcp_listen", config.osc.tcp_listen),
        ("oscquery.listen", config.oscquery.listen),
    )
    for key, listen in listeners:
        if listen is not None and listen.port and (earlier := taken.setdefault(listen, key)) != key:
            yield key, f"{listen} is already taken by {earlier}"
    if config.oscquery.listen is not None and config.osc.listen is None:
        yield "oscquery.listen", "without osc.listen there is no OSC to ask about"
    discovery = config.discovery.listen
    if discovery is not None and discovery.port and discovery == config.osc.listen:
        yield "discovery.listen", f"{discovery} is already taken by osc.listen"
    if all(listen is None for _, listen in listeners) and config.osc.listen is None and config.quic.listen is None:
        yield "websocket.listen", "every listener is off: nobody could connect"
