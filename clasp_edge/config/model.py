"""The shape of the configuration file: every section, key, type, range and default.

The numbers that clients can notice are the defaults of the reference router. What each key is for, in words, stands
in `default.toml`; a test keeps the two together. Reading a file is `load`'s business, not this one's.
"""

from __future__ import annotations

import datetime
import os
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from clasp_edge.config.listen import Listen

# A year: long enough for any timeout that means something, short enough to keep timer arithmetic in range.
LONGEST_S = 31_536_000

# A param's lifetime on the wire is 31 bits of seconds (router.md 3.4); the server-wide one gets the same range.
LONGEST_TTL_S = 2**31 - 1

# More connections than one process can have open files for on any board.
MOST_SESSIONS = 1_000_000

# The largest outbox that makes sense is the arena; the smallest holds one frame of ordinary size.
SMALLEST_OUTBOX_KIB = 64
LARGEST_ARENA_MIB = 4096

# More than any card, any archive and any counter of years has room for.
LARGEST_LOG_MIB = 1_048_576
LONGEST_RETENTION_S = 10 * LONGEST_S
MOST_RECORDS = 10**12

Count = Annotated[int, Meta(ge=1, le=10_000_000)]
CountOrUnlimited = Annotated[int, Meta(ge=0, le=10_000_000)]
Timeout = Annotated[float, Meta(ge=0.1, le=LONGEST_S)]
Kib = Annotated[int, Meta(ge=SMALLEST_OUTBOX_KIB, le=LARGEST_ARENA_MIB * 1024)]


class Section(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """The ground of every table of the file: immutable, and no key that is not listed."""


class Websocket(Section, frozen=True, kw_only=True):
    """`[websocket]`."""

    listen: Listen | None = Listen("0.0.0.0", 7330)
    tls_listen: Listen | None = None
    origins: tuple[str, ...] = ()


class Tcp(Section, frozen=True, kw_only=True):
    """`[tcp]`: frames with a length prefix."""

    listen: Listen | None = None
    tls_listen: Listen | None = None


class Quic(Section, frozen=True, kw_only=True):
    """`[quic]`: CLASP over QUIC, with the certificate of `[tls]`."""

    listen: Listen | None = None


class Tls(Section, frozen=True, kw_only=True):
    """`[tls]`: the certificate of encrypted listeners; paths in PEM. "" is one made once and kept in data_dir."""

    certificate: Annotated[str, Meta(max_length=4096)] = ""
    key: Annotated[str, Meta(max_length=4096)] = ""
    client_ca: Annotated[str, Meta(max_length=4096)] = ""
    client_certificates: Literal["required", "optional"] = "required"


class MqttMount(Section, frozen=True, kw_only=True):
    """`[[mqtt.mount]]`: topics that are addresses outside the namespace."""

    topic: Annotated[str, Meta(min_length=1, max_length=1024)]
    address: Annotated[str, Meta(min_length=2, max_length=1024)]
    rights: Literal["read", "write", "both"] = "both"


class Mqtt(Section, frozen=True, kw_only=True):
    """`[mqtt]`: the server for MQTT clients."""

    listen: Listen | None = Listen("0.0.0.0", 1883)
    tls_listen: Listen | None = None
    namespace: Annotated[str, Meta(max_length=256)] = "/mqtt"  # "": all of the tree
    mount: tuple[MqttMount, ...] = ()
    unretained: Literal["event", "param"] = "param"
    events: tuple[str, ...] = ()
    max_packet_kib: Annotated[int, Meta(ge=1, le=16_384)] = 1024
    max_inflight: Annotated[int, Meta(ge=1, le=65535)] = 1024
    offline_queue_kib: Annotated[int, Meta(ge=1, le=LARGEST_ARENA_MIB * 1024)] = 256
    queues_mib: Annotated[int, Meta(ge=1, le=LARGEST_ARENA_MIB)] = 16
    max_kept_sessions: Annotated[int, Meta(ge=0, le=MOST_SESSIONS)] = 1000  # 0: none
    max_session_expiry_s: Annotated[int, Meta(ge=0, le=LONGEST_S)] = 86_400  # 0: none is kept
    sys_interval_s: Annotated[float, Meta(ge=0, le=LONGEST_S)] = 10.0  # 0: never


class Limits(Section, frozen=True, kw_only=True):
    """`[limits]`: what a peer may use. Durations in seconds unless named `_ms`; 0 means what the comment says."""

    max_sessions: Annotated[int, Meta(ge=0, le=MOST_SESSIONS)] = 1000  # 0: unlimited
    max_half_open: Annotated[int, Meta(ge=1, le=MOST_SESSIONS)] = 256
    session_timeout_s: Annotated[float, Meta(ge=0, le=LONGEST_S)] = 300.0  # 0: never
    handshake_timeout_s: Timeout = 10.0
    slow_client_timeout_s: Timeout = 30.0
    max_subscriptions_per_session: CountOrUnlimited = 10_000  # 0: unlimited
    max_subscriptions: CountOrUnlimited = 100_000  # 0: unlimited
    max_subscriptions_mib: Annotated[int, Meta(ge=0, le=65_536)] = 32  # 0: unlimited
    memory_mib: Annotated[int, Meta(ge=0, le=65_536)] = 64  # 0: unlimited
    messages_per_second: CountOrUnlimited = 1000  # 0: unlimited
    arena_mib: Annotated[int, Meta(ge=1, le=LARGEST_ARENA_MIB)] = 16
    outbox_kib: Kib = 256
    event_backlog_kib: Kib = 512
    gesture_coalesce_ms: Annotated[int, Meta(ge=0, le=10_000)] = 16  # 0: no coalescing
    history_kib: Annotated[int, Meta(ge=0, le=LARGEST_ARENA_MIB * 1024)] = 1024  # 0: none kept
    max_scheduled_bundles: Count = 1024
    schedule_horizon_s: Timeout = 3600.0
    max_announced_signals: Count = 10_000


class Strategy(Section, frozen=True, kw_only=True):
    """`[[state.strategy]]`: how concurrent writes to the addresses of a pattern are settled."""

    pattern: str
    strategy: Literal["lww", "max", "min", "lock", "merge"]


class State(Section, frozen=True, kw_only=True):
    """`[state]`: the params the router remembers."""

    param_ttl_s: Annotated[float, Meta(ge=0, le=LONGEST_TTL_S)] = 3600.0  # 0: never
    max_params: CountOrUnlimited = 100_000  # 0: unlimited
    max_mib: Annotated[int, Meta(ge=0, le=65_536)] = 56  # 0: unlimited
    eviction: Literal["lru", "reject"] = "lru"
    lock_grace_s: Annotated[float, Meta(ge=0, le=LONGEST_S)] = 5.0  # 0: at once
    strategy: tuple[Strategy, ...] = ()


class Token(Section, frozen=True, kw_only=True):
    """`[[security.token]]`: a bearer token and what it allows. `expires` always carries an offset from UTC."""

    token: Annotated[str, Meta(min_length=1, max_length=4096)] = ""
    token_file: Annotated[str, Meta(min_length=1, max_length=4096)] = ""
    subject: Annotated[str, Meta(max_length=256)] = ""
    scopes: Annotated[tuple[str, ...], Meta(min_length=1)]
    expires: Annotated[datetime.datetime, Meta(tz=True)] | None = None
    messages_per_second: CountOrUnlimited = 0  # 0: limits.messages_per_second
    sessions: CountOrUnlimited = 0  # 0: unlimited
    subscriptions: CountOrUnlimited = 0  # 0: unlimited
    bytes_per_second: Annotated[int, Meta(ge=0, le=1_000_000_000)] = 0  # 0: unlimited
    kept_kib: Annotated[int, Meta(ge=0, le=65_536 * 1024)] = 0  # 0: its share of limits.memory_mib

    def __repr__(self) -> str:
        # A secret must not reach a log through a formatted config.
        return f"Token(subject={self.subject!r}, scopes={self.scopes!r}, expires={self.expires!r})"


class ClientCertificate(Section, frozen=True, kw_only=True):
    """`[[security.certificate]]`: what the bearer of a client certificate may do."""

    name: Annotated[str, Meta(min_length=4, max_length=512)]
    subject: Annotated[str, Meta(max_length=256)] = ""
    scopes: Annotated[tuple[str, ...], Meta(min_length=1)]


class Network(Section, frozen=True, kw_only=True):
    """`[[security.network]]`: what devices there may do that cannot log in."""

    networks: Annotated[tuple[str, ...], Meta(min_length=1)]
    protocols: Annotated[tuple[Literal["mqtt", "osc"], ...], Meta(min_length=1)] = ("mqtt", "osc")
    scopes: Annotated[tuple[str, ...], Meta(min_length=1)]


class Security(Section, frozen=True, kw_only=True):
    """`[security]`: who may connect and what they may do."""

    mode: Literal["open", "authenticated"] = "open"
    lock_error_code: Literal[400, 401] = 400  # router.md 13.7: old clients know 400, the protocol document says 401
    token: tuple[Token, ...] = ()
    network: tuple[Network, ...] = ()
    trust_anchors: tuple[str, ...] = ()
    certificate: tuple[ClientCertificate, ...] = ()


class Journal(Section, frozen=True, kw_only=True):
    """`[journal]`: what outlives the router. GB are 10^9 bytes."""

    mode: Literal["group", "strict", "volatile", "off"] = "group"
    commit_interval_ms: Annotated[int, Meta(ge=1, le=60_000)] = 100
    buffer_kib: Annotated[int, Meta(ge=256, le=65_536)] = 2048
    patterns: Annotated[tuple[str, ...], Meta(min_length=1)] = ("/**",)
    signals: Annotated[
        tuple[Literal["param", "event", "stream", "gesture", "timeline"], ...], Meta(min_length=1)
    ] = ("param", "event", "gesture", "timeline")  # fmt: skip
    retention_mib: Annotated[int, Meta(ge=0, le=LARGEST_LOG_MIB)] = 256  # 0: no limit
    retention_s: Annotated[float, Meta(ge=0, le=LONGEST_RETENTION_S)] = 604_800.0  # 0: no limit
    retention_records: Annotated[int, Meta(ge=0, le=MOST_RECORDS)] = 0  # 0: no limit
    audit: bool = True
    audit_mib: Annotated[int, Meta(ge=1, le=LARGEST_LOG_MIB)] = 16
    audit_s: Annotated[float, Meta(ge=0, le=LONGEST_RETENTION_S)] = 7_776_000.0  # 0: no limit
    wear_budget_gb_per_day: Annotated[float, Meta(ge=0, le=1_000_000)] = 24.0  # 0: no budget


class Rules(Section, frozen=True, kw_only=True):
    """`[rules]`: where further rules are, and the one switch for all."""

    enabled: bool = True
    files: tuple[str, ...] = ()


class Console(Section, frozen=True, kw_only=True):
    """`[console]`: how the running router is asked how it is, and by whom."""

    socket: Annotated[str, Meta(min_length=1, max_length=4096)] = "auto"
    metrics_from: tuple[str, ...] = ("127.0.0.0/8", "::1")


class Log(Section, frozen=True, kw_only=True):
    """`[log]`."""

    level: Literal["debug", "info", "warning", "error"] = "info"


def default_data_dir() -> Path:
    """The directory that systemd gave, else /var/lib for root, else the user's state directory (XDG)."""
    if given := os.environ.get("STATE_DIRECTORY"):
        return Path(given.split(":")[0])  # systemd.exec(5): several directories are joined by colons
    if os.geteuid() == 0:
        return Path("/var/lib/clasp-edge")
    if base := os.environ.get("XDG_STATE_HOME"):
        return Path(base) / "clasp-edge"
    return Path.home() / ".local" / "state" / "clasp-edge"


OscKind = Literal["float", "int", "double", "whole-as-int", "bool-as-int", "string", "flat", "brackets"]


class KeepAlive(Section, frozen=True, kw_only=True):
    """What a device has to hear from time to time, as text (`devices/osc/message_text.py`). Empty: nothing."""

    message: Annotated[str, Meta(max_length=1024)] = ""
    every_s: Annotated[float, Meta(ge=0.1, le=LONGEST_S)] = 9.0


class _OscDevice(Section, frozen=True, kw_only=True):
    """What can be said of a device, sent values or not. None: as `[osc]` has it. Rates are messages per second."""

    name: Annotated[str, Meta(min_length=1, max_length=64)]
    transport: Literal["udp", "tcp"] = "udp"
    tcp_framing: Literal["slip", "length"] | None = None
    prefix: Annotated[str, Meta(max_length=256)] = ""
    outside: tuple[str, ...] = ()
    scopes: tuple[str, ...] = ()
    messages_per_second: CountOrUnlimited | None = None
    events: tuple[str, ...] = ()
    echo_ms: Annotated[int, Meta(ge=0, le=10_000)] | None = None
    timetags: Literal["schedule", "ignore", "relative"] | None = None
    query: Literal["event", "reply"] | None = None
    rate: Annotated[float, Meta(ge=0, le=10_000)] = 0.0  # 0: every change
    total_rate: Annotated[float, Meta(ge=0, le=1_000_000)] = 0.0  # 0: any
    kib_per_second: Annotated[int, Meta(ge=0, le=LARGEST_ARENA_MIB * 1024)] = 4096  # 0: any
    bundle: bool = False
    initial: bool = True
    floats: Literal["single", "exact", "double"] | None = None
    arrays: Literal["flat", "brackets"] | None = None
    types: dict[str, OscKind] = {}
    keep_alive: KeepAlive = KeepAlive()
    queries: tuple[str, ...] = ()


class OscDevice(_OscDevice, frozen=True, kw_only=True):
    """`[[osc.device]]`: a device by where it sends from, and by where it listens if it is sent values unasked."""

    source: Annotated[str, Meta(max_length=253)] = ""
    host: Annotated[str, Meta(max_length=253)] = ""
    port: Annotated[int, Meta(ge=0, le=65535)] = 0
    patterns: tuple[str, ...] = ()


class OscTarget(_OscDevice, frozen=True, kw_only=True):
    """`[[osc.target]]`: a device that is sent values without asking."""

    host: Annotated[str, Meta(min_length=1, max_length=253)]
    port: Annotated[int, Meta(ge=1, le=65535)]
    patterns: Annotated[tuple[str, ...], Meta(min_length=1)]
    sends_from: Annotated[str, Meta(max_length=253)] = ""

    def as_device(self) -> OscDevice:
        """The same as a device."""
        fields = {name: getattr(self, name) for name in _OscDevice.__struct_fields__}
        return OscDevice(source=self.sends_from, host=self.host, port=self.port, patterns=self.patterns, **fields)


class Osc(Section, frozen=True, kw_only=True):
    """`[osc]`: devices that speak OSC. Rates are messages per second."""

    listen: Listen | None = Listen("0.0.0.0", 8000)
    also_listen: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    namespace: Annotated[str, Meta(max_length=63)] = "/osc"
    allow: tuple[str, ...] = ()
    scopes: tuple[str, ...] = ()
    max_sources: Annotated[int, Meta(ge=1, le=100_000)] = 1000
    messages_per_second: CountOrUnlimited = 10_000  # 0: unlimited
    silence_s: Timeout = 10.0
    events: tuple[str, ...] = ()
    echo_ms: Annotated[int, Meta(ge=0, le=10_000)] = 250  # 0: nothing is an echo
    timetags: Literal["schedule", "ignore", "relative"] = "schedule"
    query: Literal["event", "reply"] = "event"
    floats: Literal["single", "exact", "double"] = "single"
    arrays: Literal["flat", "brackets"] = "flat"
    max_subscribers: Annotated[int, Meta(ge=0, le=10_000)] = 256  # 0: nobody can subscribe
    subscriber_rate: Annotated[float, Meta(ge=0, le=10_000)] = 100.0  # 0: every change
    subscriber_kib_per_second: Annotated[int, Meta(ge=0, le=LARGEST_ARENA_MIB * 1024)] = 512  # 0: unlimited
    tcp_listen: Listen | None = None
    tcp_framing: Literal["slip", "length"] = "slip"
    target: tuple[OscTarget, ...] = ()
    device: tuple[OscDevice, ...] = ()


class OscQuery(Section, frozen=True, kw_only=True):
    """`[oscquery]`: the params of OSC devices as a tree over HTTP."""

    listen: Listen | None = None


class BridgeMap(Section, frozen=True, kw_only=True):
    """`[[bridge.NAME.map]]`: which topics are which addresses, and how they are carried."""

    direction: Literal["in", "out", "both"] = "both"
    topic: Annotated[str, Meta(min_length=1, max_length=1024)]
    address: Annotated[str, Meta(min_length=1, max_length=1024)]
    qos: Literal[0, 1, 2] = 1
    retain: bool = True
    policy: Literal["latest", "log", "drop"] = "latest"
    arrives_as: Literal["param", "event"] | None = None
    payload: Literal["value", "clasp"] = "value"


class Bridge(Section, frozen=True, kw_only=True):
    """`[bridge.NAME]`: a link to an MQTT broker, or to the first of several that answers."""

    brokers: Annotated[tuple[str, ...], Meta(min_length=1)]
    client_id: Annotated[str, Meta(max_length=256)] = ""  # "": one that stays the same
    username: Annotated[str, Meta(max_length=256)] = ""
    password: Annotated[str, Meta(max_length=4096)] = ""
    password_file: Annotated[str, Meta(max_length=4096)] = ""
    tls_ca: Annotated[str, Meta(max_length=4096)] = ""
    tls_cert: Annotated[str, Meta(max_length=4096)] = ""
    tls_key: Annotated[str, Meta(max_length=4096)] = ""
    keep_alive_s: Annotated[int, Meta(ge=1, le=65535)] = 15
    queue_kib: Annotated[int, Meta(ge=1, le=LARGEST_ARENA_MIB * 1024)] = 4096
    queue_age_s: Annotated[float, Meta(ge=0, le=LONGEST_S)] = 0.0  # 0: any age
    map: tuple[BridgeMap, ...]

    def __repr__(self) -> str:
        # A secret must not reach a log through a formatted config.
        return f"Bridge(brokers={self.brokers!r}, map={self.map!r})"


class Uplink(Section, frozen=True, kw_only=True):
    """`[uplink.NAME]`: a link to a larger router, or to the first of several that answers."""

    url: str | tuple[str, ...]
    token: Annotated[str, Meta(max_length=4096)] = ""
    token_file: Annotated[str, Meta(max_length=4096)] = ""
    owns: tuple[str, ...] = ()
    wants: tuple[str, ...] = ()
    policy: dict[str, Literal["latest", "log", "drop"]] = {}
    merge: Literal["edge", "hub"] = "edge"
    clock_tolerance_ms: Annotated[int, Meta(ge=1, le=3_600_000)] = 2000
    dead_after_ms: Annotated[int, Meta(ge=500, le=3_600_000)] = 3000
    queue_mib: Annotated[int, Meta(ge=1, le=65_536)] = 128
    queue_age_s: Annotated[float, Meta(ge=0, le=LONGEST_RETENTION_S)] = 0.0  # 0: any age
    tls_ca: Annotated[str, Meta(max_length=4096)] = ""
    tls_cert: Annotated[str, Meta(max_length=4096)] = ""
    tls_key: Annotated[str, Meta(max_length=4096)] = ""
    tls_server_name: Annotated[str, Meta(max_length=253)] = ""
    tls_pin: Annotated[str, Meta(max_length=71)] = ""

    @property
    def urls(self) -> tuple[str, ...]:
        """In the order in which they are tried."""
        return (self.url,) if isinstance(self.url, str) else self.url

    def __repr__(self) -> str:
        # A secret must not reach a log through a formatted config.
        return f"Uplink(url={self.url!r}, owns={self.owns!r}, wants={self.wants!r})"


PAIR_UPLINK = "pair"
"""The name of the uplink that is the link between the two of a pair, where this router dials."""


class Pair(Section, frozen=True, kw_only=True):
    """`[federation.pair]`: another hub that stands in for this one, and this one for it. Off without url and
    router_id."""

    url: Annotated[str, Meta(max_length=1024)] = ""
    router_id: Annotated[str, Meta(max_length=64)] = ""
    token: Annotated[str, Meta(max_length=4096)] = ""
    token_file: Annotated[str, Meta(max_length=4096)] = ""
    alone: Literal["go on", "wait"] = "go on"
    dead_after_ms: Annotated[int, Meta(ge=500, le=3_600_000)] = 1000
    queue_mib: Annotated[int, Meta(ge=1, le=65_536)] = 128
    tls_ca: Annotated[str, Meta(max_length=4096)] = ""
    tls_cert: Annotated[str, Meta(max_length=4096)] = ""
    tls_key: Annotated[str, Meta(max_length=4096)] = ""
    tls_server_name: Annotated[str, Meta(max_length=253)] = ""
    tls_pin: Annotated[str, Meta(max_length=71)] = ""

    @property
    def on(self) -> bool:
        """Whether this router is one of a pair."""
        return bool(self.url or self.router_id)

    def __repr__(self) -> str:
        # A secret must not reach a log through a formatted config.
        return f"Pair(url={self.url!r}, router_id={self.router_id!r}, alone={self.alone!r})"


class Federation(Section, frozen=True, kw_only=True):
    """`[federation]`: this router among others."""

    router_id: Annotated[str, Meta(max_length=64)] = ""  # "": made once and kept in data_dir
    exclusive: bool = False
    messages_per_second: CountOrUnlimited = 0  # 0: unlimited
    keep_s: Annotated[float, Meta(ge=0, le=LONGEST_RETENTION_S)] = 86_400.0  # 0: nothing is kept
    keep_mib: Annotated[int, Meta(ge=1, le=65_536)] = 128
    pair: Pair = Pair()


class Discovery(Section, frozen=True, kw_only=True):
    """`[discovery]`: being found in the local network."""

    listen: Listen | None = None
    mdns: Literal["off", "on"] = "off"


class Config(Section, frozen=True, kw_only=True):
    """The whole file."""

    name: Annotated[str, Meta(min_length=1, max_length=256)] = "clasp-edge"
    data_dir: Path = msgspec.field(default_factory=default_data_dir)
    websocket: Websocket = Websocket()
    tcp: Tcp = Tcp()
    quic: Quic = Quic()
    tls: Tls = Tls()
    mqtt: Mqtt = Mqtt()
    limits: Limits = Limits()
    state: State = State()
    security: Security = Security()
    osc: Osc = Osc()
    oscquery: OscQuery = OscQuery()
    bridge: dict[str, Bridge] = {}
    uplink: dict[str, Uplink] = {}
    federation: Federation = Federation()
    journal: Journal = Journal()
    rules: Rules = Rules()
    rule: tuple[dict[str, Any], ...] = ()  # what is in them is known to the room `rules`
    map: tuple[dict[str, Any], ...] = ()
    scene: dict[str, dict[str, Any]] = {}
    console: Console = Console()
    discovery: Discovery = Discovery()
    log: Log = Log()


def leaves(section: Section, prefix: str = "") -> dict[str, object]:
    """Every key of `section` by its dotted path, with its value; a list of tables is one leaf."""
    found: dict[str, object] = {}
    for key in section.__struct_fields__:
        value = getattr(section, key)
        if isinstance(value, Section):
            found |= leaves(value, f"{prefix}{key}.")
        else:
            found[prefix + key] = value
    return found
