"""Hypothesis strategies for values and for every message type, in the form that survives a v3 round trip."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from hypothesis import strategies as st

from clasp_edge import wire
from clasp_edge.wire.enums import FEATURE_BITS

u8s = st.integers(0, 0xFF)
u16s = st.integers(0, 0xFFFF)
u32s = st.integers(0, 0xFFFF_FFFF)
u64s = st.integers(0, 0xFFFF_FFFF_FFFF_FFFF)
texts = st.text(max_size=24)
floats = st.floats(allow_nan=False)
signal_types = st.sampled_from(wire.SignalType)

values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | floats | texts | st.binary(max_size=24),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(texts, inner, max_size=5),
    max_leaves=16,
)
present_or_absent = st.just(wire.ABSENT) | values


def maybe(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | strategy


def tuples_of(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.lists(strategy, max_size=4).map(tuple)


def subsets_of(names: Iterable[Any]) -> st.SearchStrategy[Any]:
    """Some of the names, in their order."""
    ordered = list(names)
    return st.sets(st.sampled_from(ordered)).map(lambda chosen: tuple([name for name in ordered if name in chosen]))


tokens = maybe(st.text(min_size=1, max_size=24))  # v3 cannot tell an empty token from none
type_filters = subsets_of(wire.SignalType)
signal_metas = st.builds(
    wire.SignalMeta,
    unit=maybe(texts),
    range=maybe(st.tuples(floats, floats)),
    default=present_or_absent,
    description=maybe(texts),
)


def signals(metas: st.SearchStrategy[Any]) -> st.SearchStrategy[wire.Signal]:
    return st.builds(
        wire.Signal, address=texts, type=signal_types, datatype=maybe(texts), access=maybe(texts), meta=metas
    )


subscribe_options = st.builds(
    wire.SubscribeOptions,
    max_rate=maybe(u32s),
    epsilon=maybe(floats),
    history=maybe(u32s),
    window=maybe(u32s),
).filter(lambda options: options != wire.SubscribeOptions())  # v3 cannot tell empty options from none
ttls = u32s.map(wire.Ttl.from_word)
slots = st.one_of(
    st.just({}),
    values.map(lambda value: {"value": value}),
    tuples_of(floats).map(lambda samples: {"samples": samples}),
)
publishes = st.builds(
    lambda slot, rest: wire.Publish(**slot, **rest),
    slots,
    st.fixed_dictionaries(
        {
            "address": texts,
            "signal": signal_types,
            "phase": st.sampled_from(wire.Phase),
            "timestamp": maybe(u64s),
            "id": maybe(u32s),
            "rate": maybe(u32s),
        }
    ),
)
params = st.builds(
    wire.ParamValue, address=texts, value=values, revision=u64s, writer=maybe(texts), timestamp=maybe(u64s)
)

BY_TYPE: dict[type[wire.Message], st.SearchStrategy[Any]] = {
    wire.Hello: st.builds(
        wire.Hello,
        version=u8s,
        name=texts,
        features=subsets_of(FEATURE_BITS),
        capabilities=st.none(),
        token=tokens,
    ),
    wire.Welcome: st.builds(
        wire.Welcome,
        version=u8s,
        session=texts,
        name=texts,
        features=subsets_of(name for name in FEATURE_BITS if name != "federation"),
        time=u64s,
        token=tokens,
    ),
    wire.Announce: st.builds(
        wire.Announce, namespace=texts, signals=tuples_of(signals(maybe(signal_metas))), meta=st.none()
    ),
    wire.FederationSync: st.builds(
        wire.FederationSync,
        op=st.sampled_from(wire.FederationOp),
        patterns=tuples_of(texts),
        revisions=st.dictionaries(texts, u64s, max_size=4),
        since_revision=maybe(u64s),
        origin=maybe(texts),
    ),
    wire.Subscribe: st.builds(
        wire.Subscribe, id=u32s, pattern=texts, types=type_filters, options=maybe(subscribe_options)
    ),
    wire.Unsubscribe: st.builds(wire.Unsubscribe, id=u32s),
    wire.Publish: publishes,
    wire.Set: st.builds(
        wire.Set,
        address=texts,
        value=values,
        revision=maybe(u64s),
        lock=st.booleans(),
        unlock=st.booleans(),
        ttl=maybe(ttls),
    ),
    wire.Get: st.builds(wire.Get, address=texts),
    wire.Snapshot: st.builds(wire.Snapshot, params=tuples_of(params)),
    wire.Replay: st.builds(
        wire.Replay, pattern=texts, from_=maybe(u64s), to=maybe(u64s), limit=maybe(u32s), types=type_filters
    ),
    wire.Sync: st.builds(wire.Sync, t1=u64s, t2=maybe(u64s), t3=maybe(u64s)),
    wire.Ping: st.builds(wire.Ping),
    wire.Pong: st.builds(wire.Pong),
    wire.Ack: st.builds(
        wire.Ack,
        address=maybe(texts),
        revision=maybe(u64s),
        locked=maybe(st.booleans()),
        holder=maybe(texts),
        correlation_id=maybe(u32s),
    ),
    wire.Error: st.builds(wire.Error, code=u16s, message=texts, address=maybe(texts), correlation_id=maybe(u32s)),
    wire.Query: st.builds(wire.Query, pattern=texts),
    wire.Result: st.builds(wire.Result, signals=tuples_of(signals(st.none()))),
}


def bundles_of(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[wire.Bundle]:
    return st.builds(wire.Bundle, messages=tuples_of(inner), timestamp=maybe(u64s))


plain_messages: st.SearchStrategy[Any] = st.one_of(*BY_TYPE.values())
BY_TYPE[wire.Bundle] = bundles_of(plain_messages | bundles_of(plain_messages))
messages: st.SearchStrategy[Any] = st.one_of(*BY_TYPE.values())
