"""The nineteen messages as data: one slotted class per type, fields named as in the protocol (wire.md 2.3, 3.2).

Both encodings decode to these classes. Knows no encoding. ``None`` means an absent optional field; where null is
a legal value, absence is `ABSENT`. Decoders fill sequences with tuples; encoders take any sequence.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, StrEnum
from typing import ClassVar, Final, TypeAlias

from clasp_edge.wire.enums import FederationOp, MessageType, Phase, SignalType
from clasp_edge.wire.values import Value


class Absent(Enum):
    """Type of `ABSENT`: no value at all, as opposed to the value null."""

    ABSENT = "absent"

    def __repr__(self) -> str:
        return "ABSENT"


ABSENT: Final = Absent.ABSENT


class TtlMode(StrEnum):
    """How a param expires."""

    NEVER = "never"
    SLIDING = "sliding"
    ABSOLUTE = "absolute"


@dataclass(slots=True, frozen=True)
class Ttl:
    """Time to live of a SET, in seconds: ABSOLUTE from the write, SLIDING from the last access (wire.md 2.3)."""

    mode: TtlMode
    seconds: int = 0

    ABSOLUTE_BIT: ClassVar[int] = 0x8000_0000
    SECONDS_MASK: ClassVar[int] = 0x7FFF_FFFF

    @classmethod
    def from_word(cls, word: int) -> Ttl:
        """From the u32 of a v3 SET."""
        if word == 0:
            return cls(TtlMode.NEVER)
        return cls(TtlMode.ABSOLUTE if word & cls.ABSOLUTE_BIT else TtlMode.SLIDING, word & cls.SECONDS_MASK)

    @property
    def word(self) -> int:
        """The u32 of a v3 SET. Seconds keep 31 bits, so sliding 0 turns into never (wire.md 2.3)."""
        if self.mode is TtlMode.NEVER:
            return 0
        seconds = self.seconds & self.SECONDS_MASK
        return seconds | self.ABSOLUTE_BIT if self.mode is TtlMode.ABSOLUTE else seconds


@dataclass(slots=True)
class Capabilities:
    """What a v2 HELLO says beyond features; v3 has no place for it and nothing reads it (wire.md 5.1)."""

    encryption: bool = False
    compression: str | None = None


@dataclass(slots=True)
class SignalMeta:
    """Description of an announced signal. ``range`` is (minimum, maximum)."""

    unit: str | None = None
    range: tuple[float, float] | None = None
    default: Value | Absent = ABSENT
    description: str | None = None


@dataclass(slots=True)
class Signal:
    """An announced address, also a line of RESULT. ``datatype`` and ``access`` are free text."""

    address: str
    type: SignalType
    datatype: str | None = None
    access: str | None = None
    meta: SignalMeta | None = None


@dataclass(slots=True)
class ParamValue:
    """A line of SNAPSHOT. ``writer`` is a session id, ``timestamp`` in microseconds."""

    address: str
    value: Value
    revision: int
    writer: str | None = None
    timestamp: int | None = None


@dataclass(slots=True)
class SubscribeOptions:
    """``max_rate`` per second, ``history`` a count, ``window`` in milliseconds."""

    max_rate: int | None = None
    epsilon: float | None = None
    history: int | None = None
    window: int | None = None


@dataclass(slots=True)
class Keyframe:
    """A point of a timeline (v2 only). ``easing`` is one of the names in wire.md 5.1, ``bezier`` four numbers."""

    time: int
    value: Value
    easing: str = "linear"
    bezier: tuple[float, float, float, float] | None = None


@dataclass(slots=True)
class Timeline:
    """Timeline data, which only v2 can carry (wire.md 3.2). Times in microseconds."""

    keyframes: Sequence[Keyframe]
    loop_: bool = False
    start_time: int | None = None
    duration: int | None = None


@dataclass(slots=True)
class Hello:
    """First message of a client."""

    type: ClassVar[MessageType] = MessageType.HELLO
    version: int
    name: str
    features: Sequence[str] = ()
    capabilities: Capabilities | None = None
    token: str | None = None


@dataclass(slots=True)
class Welcome:
    """The router's answer to HELLO. ``time`` is Unix time in microseconds."""

    type: ClassVar[MessageType] = MessageType.WELCOME
    version: int
    session: str
    name: str
    features: Sequence[str]
    time: int
    token: str | None = None


@dataclass(slots=True)
class Announce:
    """Signals that a namespace offers. ``meta`` is v2 only."""

    type: ClassVar[MessageType] = MessageType.ANNOUNCE
    namespace: str
    signals: Sequence[Signal] = ()
    meta: Mapping[str, Value] | None = None


@dataclass(slots=True)
class FederationSync:
    """Between routers. ``revisions`` maps addresses to revisions."""

    type: ClassVar[MessageType] = MessageType.FEDERATION_SYNC
    op: FederationOp
    patterns: Sequence[str] = ()
    revisions: Mapping[str, int] = field(default_factory=dict)
    since_revision: int | None = None
    origin: str | None = None


@dataclass(slots=True)
class Subscribe:
    """``id`` is chosen by the client; no ``types`` means all."""

    type: ClassVar[MessageType] = MessageType.SUBSCRIBE
    id: int
    pattern: str
    types: Sequence[SignalType] = ()
    options: SubscribeOptions | None = None


@dataclass(slots=True)
class Unsubscribe:
    """Ends the subscription ``id``."""

    type: ClassVar[MessageType] = MessageType.UNSUBSCRIBE
    id: int


@dataclass(slots=True)
class Publish:
    """An occurrence, not kept. After v3 decoding ``signal`` and ``phase`` are always set and ``payload`` never."""

    type: ClassVar[MessageType] = MessageType.PUBLISH
    address: str
    signal: SignalType | None = None
    value: Value | Absent = ABSENT
    payload: Value | Absent = ABSENT
    samples: Sequence[float] | None = None
    rate: int | None = None
    id: int | None = None
    phase: Phase | None = None
    timestamp: int | None = None
    timeline: Timeline | None = None


@dataclass(slots=True)
class Set:
    """A write. From a client ``revision`` is the one expected, from the router the new one."""

    type: ClassVar[MessageType] = MessageType.SET
    address: str
    value: Value
    revision: int | None = None
    lock: bool = False
    unlock: bool = False
    ttl: Ttl | None = None


@dataclass(slots=True)
class Get:
    """Asks for one param."""

    type: ClassVar[MessageType] = MessageType.GET
    address: str


@dataclass(slots=True)
class Snapshot:
    """Params as they stand."""

    type: ClassVar[MessageType] = MessageType.SNAPSHOT
    params: Sequence[ParamValue]


@dataclass(slots=True)
class Replay:
    """Asks for journal entries between two times in microseconds (``from_``, ``to``)."""

    type: ClassVar[MessageType] = MessageType.REPLAY
    pattern: str
    from_: int | None = None
    to: int | None = None
    limit: int | None = None
    types: Sequence[SignalType] = ()


@dataclass(slots=True)
class Bundle:
    """Messages that belong together. ``timestamp`` in microseconds: when to execute."""

    type: ClassVar[MessageType] = MessageType.BUNDLE
    messages: Sequence[Message]
    timestamp: int | None = None


@dataclass(slots=True)
class Sync:
    """Clock exchange in microseconds: sent, received, answered."""

    type: ClassVar[MessageType] = MessageType.SYNC
    t1: int
    t2: int | None = None
    t3: int | None = None


@dataclass(slots=True)
class Ping:
    """Asks for a PONG."""

    type: ClassVar[MessageType] = MessageType.PING


@dataclass(slots=True)
class Pong:
    """Answers a PING."""

    type: ClassVar[MessageType] = MessageType.PONG


@dataclass(slots=True)
class Ack:
    """Accepts a SET, an ANNOUNCE or a BUNDLE."""

    type: ClassVar[MessageType] = MessageType.ACK
    address: str | None = None
    revision: int | None = None
    locked: bool | None = None
    holder: str | None = None
    correlation_id: int | None = None


@dataclass(slots=True)
class Error:
    """A refusal. ``code`` is any u16; the known ones are in `ErrorCode`."""

    type: ClassVar[MessageType] = MessageType.ERROR
    code: int
    message: str
    address: str | None = None
    correlation_id: int | None = None


@dataclass(slots=True)
class Query:
    """Asks for announced signals."""

    type: ClassVar[MessageType] = MessageType.QUERY
    pattern: str


@dataclass(slots=True)
class Result:
    """Answers a QUERY."""

    type: ClassVar[MessageType] = MessageType.RESULT
    signals: Sequence[Signal]


Message: TypeAlias = (
    Hello
    | Welcome
    | Announce
    | FederationSync
    | Subscribe
    | Unsubscribe
    | Publish
    | Set
    | Get
    | Snapshot
    | Replay
    | Bundle
    | Sync
    | Ping
    | Pong
    | Ack
    | Error
    | Query
    | Result
)
