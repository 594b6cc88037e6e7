"""The trie against the definition it must agree with: a pattern's own `matches`."""

from __future__ import annotations

import gc
import itertools
import subprocess
import sys
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.plane_rig import Rig

from clasp_edge.dataplane import Sink, Subscription, Trie
from clasp_edge.dataplane.reserved import ONLY_BY_NAME
from clasp_edge.wire.pattern import Pattern

literals = st.sampled_from([b"a", b"b", b"ab", b"aab"])
pattern_segments = literals | st.sampled_from([b"*", b"**", b"a*", b"*b", b"a*b"])
patterns = st.lists(pattern_segments, min_size=1, max_size=6).map(lambda parts: b"/" + b"/".join(parts))
addresses = st.lists(literals, min_size=1, max_size=6).map(lambda parts: b"/" + b"/".join(parts))


def subscription(text: bytes, number: int = 0) -> Subscription:
    return Subscription(Sink(), number, Pattern(text), 0)


@given(st.lists(patterns, max_size=12), st.lists(st.integers(0, 11), max_size=8), st.lists(addresses, max_size=8))
def test_finds_exactly_what_matches(texts: list[bytes], gone: list[int], asked: list[bytes]) -> None:
    trie = Trie()
    present = [subscription(text, number) for number, text in enumerate(texts)]
    for one in present:
        trie.add(one)
    for number in gone:
        if number < len(present):
            trie.discard(present.pop(number))
    for address in asked:
        found = trie.matching(address)
        assert len(found) == len(set(found))
        assert set(found) == {one for one in present if one.pattern.matches(address)}
    assert trie.size == len(present)


@given(st.lists(patterns, max_size=12), st.permutations(range(12)))
def test_nothing_is_left_when_all_have_gone(texts: list[bytes], order: list[int]) -> None:
    trie = Trie()
    present = {number: subscription(text) for number, text in enumerate(texts)}
    for one in present.values():
        trie.add(one)
    for number in order:
        if number in present:
            trie.discard(present.pop(number))
    assert (trie.size, trie.nodes, trie.memory_bytes) == (0, 0, 0)
    (root,) = (thing for thing in gc.get_referents(trie) if type(thing).__name__ == "Node")
    assert not [thing for thing in gc.get_referents(root) if type(thing).__name__ == "Node"]
    assert not any(thing for thing in gc.get_referents(root) if isinstance(thing, dict | list))


@given(st.lists(patterns, max_size=12))
def test_nodes_are_counted(texts: list[bytes]) -> None:
    trie = Trie()
    present = [subscription(text) for text in texts]
    for one in present:
        trie.add(one)
    counted, found = 0, [thing for thing in gc.get_referents(trie) if type(thing).__name__ == "Node"]
    while found:
        node = found.pop()
        for thing in gc.get_referents(node):
            inner = thing.values() if isinstance(thing, dict) else [thing]
            children = [child for child in inner if type(child).__name__ == "Node"]
            counted += len(children)
            found += children
    assert trie.nodes == counted


@pytest.mark.parametrize(
    "text",
    [
        lambda number: f"/area/{number}/level",
        lambda number: "".join(f"/{number:x}s{at:x}" for at in range(64)),
        lambda number: "/a" * 63 + f"/{number}",
        lambda number: f"/{'x' * 900}{number}",
        lambda number: "/a/**" + "".join(f"/{number:x}{at:x}" for at in range(60)),
    ],
    ids=["ordinary", "deep", "shared", "long", "walked"],
)
def test_memory_is_estimated_well_enough(text: Callable[[int], str]) -> None:
    """In a process of its own, by what the kernel says."""
    count = 3000
    program = (
        "import sys\n"
        "from clasp_edge.dataplane import Sink, Subscription, Trie\n"
        "from clasp_edge.wire.pattern import Pattern\n"
        "def resident(): return int(open('/proc/self/statm').read().split()[1]) * 4096\n"
        "texts = sys.stdin.buffer.read().split()\n"
        "trie, sink, before = Trie(), Sink(), resident()\n"
        "kept = [Subscription(sink, i, Pattern(text), 31) for i, text in enumerate(texts)]\n"
        "for one in kept: trie.add(one)\n"
        "print(resident() - before, trie.memory_bytes)\n"
    )
    texts = "\n".join(text(number) for number in range(count)).encode()
    done = subprocess.run([sys.executable, "-c", program], input=texts, capture_output=True, check=True)
    taken, estimated = map(int, done.stdout.split())
    # Never far below: then the limit would not be one. Not absurdly above: then it would refuse what there is room for.
    assert 0.8 * taken < estimated < 3 * taken + 2000 * count


def test_discarding_what_is_not_there_changes_nothing() -> None:
    trie = Trie()
    kept = subscription(b"/a/**/b")
    trie.add(kept)
    before = trie.generation
    for text in (b"/a/**/b", b"/a/**", b"/a", b"/x/*"):
        trie.discard(subscription(text))
    assert (trie.size, trie.generation) == (1, before)
    assert trie.matching(b"/a/x/b") == [kept]


def test_every_change_outdates_cached_fan_outs() -> None:
    trie = Trie()
    one = subscription(b"/a")
    seen = [trie.generation]
    for change in (lambda: trie.add(one), lambda: trie.discard(one), trie.invalidate):
        change()
        seen.append(trie.generation)
    assert seen == sorted(set(seen))


def test_a_thousand_patterns_full_of_any_depth_wildcards_are_no_trap() -> None:
    # All different from early on, and each with very many ways to match.
    trie = Trie()
    for number in range(1000):
        steps = (b"/**/*" if number >> bit & 1 else b"/**/a" for bit in range(10))
        trie.add(subscription(b"".join(steps) + b"/**/a" * 21 + b"/**/z"))
    all_match = subscription(b"/**/a" * 32)
    trie.add(all_match)
    assert trie.matching(b"/a" * 64) == [all_match]


class Offers:
    """A filter that writes down what it is offered."""

    def __init__(self) -> None:
        self.seen: list[tuple[bytes, int]] = []

    def offer(self, address: bytes, signal: int, frame: bytes) -> None:
        self.seen.append((address, signal))


def test_each_sink_gets_one_copy_and_every_filter_its_signals() -> None:
    # For each sink: subscriptions as (mask, filtered); all combinations of two, over several sinks at once.
    kinds = [*itertools.product((0x01, 0x02, 0x1F), (False, True))]
    rig = Rig()
    expected = []
    for kind in itertools.product(kinds, repeat=2):
        line = rig.line()
        offers = []
        plain = filtered = 0
        for mask, wants_filter in kind:
            offers.append(Offers() if wants_filter else None)
            line.subscribe(mask=mask, filter=offers[-1])
            if wants_filter:
                filtered |= mask
            else:
                plain |= mask
        expected.append((line, offers, plain, filtered & ~plain))
    sender = rig.line()
    for signal in range(5):
        sender.feed([bytes((0x20, signal << 5)) + b"\x00\x02/a\x00"])
    for line, offers, plain, filtered in expected:
        assert len(line.read_frames()) == plain.bit_count()
        assert sum(len(offer.seen) for offer in offers if offer is not None) == filtered.bit_count()
    rig.close()


def test_what_the_daemon_says_to_itself_is_heard_only_by_who_asks_for_it_by_name() -> None:
    trie = Trie()
    address = ONLY_BY_NAME + b"probe"
    asked = subscription(address)
    trie.add(asked)
    for text in (b"/**", b"/clasp-edge/**", b"/clasp-edge/watchdog/*", b"/*/watchdog/probe", b"/**/probe"):
        trie.add(subscription(text))
    assert trie.matching(address) == [asked]
    assert len(trie.matching(b"/clasp-edge/watchdogs/probe")) == 3
