"""The log by address: who asks for little reads little of it, and misses nothing."""

from __future__ import annotations

import shutil
from pathlib import Path

import lmdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.examples import examples
from support.journal_rig import Kept
from support.plane_rig import set_payload

from clasp_edge.journal.format import SUMMARY_PREFIX, Record, records, summary_key
from clasp_edge.journal.store import Retention
from clasp_edge.journal.summary import Question, summary_of
from clasp_edge.wire import Set, decode
from clasp_edge.wire.pattern import Pattern, PatternError

FOREVER = (1 << 63) - 1
AREAS = 14

SEGMENTS = st.sampled_from(["a", "b", "zone5", "level", "x" * 40, "1"])
ADDRESSES = st.lists(SEGMENTS, min_size=1, max_size=6).map(lambda parts: "/" + "/".join(parts))
WILD = st.sampled_from(["*", "**", "zone*", "*5", "z{one,}5*", "a", "b", "level", "zone5", "?*", "[a-c]*", "1"])
PATTERNS = st.lists(WILD, min_size=1, max_size=5).map(lambda parts: "/" + "/".join(parts))


def question(text: str, from_us: int = 0, to_us: int = FOREVER, mask: int = 0x1F) -> Question:
    return Question(Pattern(text.encode()), from_us, to_us, mask)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A log in which one area after the other is written to, some hundred kilobytes each."""
    directory = tmp_path_factory.mktemp("log")
    fill(Kept(directory)).close()
    return directory


@pytest.fixture
def log(made: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    shutil.copytree(made, tmp_path / "log")
    return tmp_path / "log"


def fill(kept: Kept) -> Kept:
    line = kept.rig.line()
    for area in range(AREAS):
        line.feed([set_payload(b"/area%d/light/%d/level" % (area, n % 50), n) for n in range(1500)])
        kept.commit()
    return kept


def read(kept: Kept, asked: Question | None) -> tuple[list[bytes], list[Record]]:
    """All blocks that are read for a question, piece by piece as a replay does, and the records in them."""
    blocks: list[bytes] = []
    first = 0
    while first < FOREVER:
        piece = kept.store.read_log(first, FOREVER - 1, 0, FOREVER, 0x1F, 1 << 17, 8, question=asked)
        assert piece.next > first
        blocks += piece.blocks
        first = piece.next
    return blocks, [record for block in blocks for record in records(block)]


def matching(found: list[Record], text: str) -> list[int]:
    pattern = Pattern(text.encode())
    numbers = []
    for record in found:
        message = decode(record.frame)[1]
        assert isinstance(message, Set)
        if pattern.matches(message.address.encode()):
            numbers.append(record.number)
    return numbers


@settings(max_examples=examples(100), deadline=None)
@given(st.lists(ADDRESSES, min_size=1, max_size=8), PATTERNS)
def test_a_summary_never_says_no_to_what_is_there(addresses: list[str], text: str) -> None:
    try:
        pattern = Pattern(text.encode())
    except PatternError:
        return
    block = bytearray(72)
    for number, address in enumerate(addresses):
        payload = set_payload(address.encode(), number)
        frame = b"\x53\x00" + len(payload).to_bytes(2, "big") + payload
        block += (14 + len(frame)).to_bytes(4, "little") + bytes(8) + b"\0\0" + frame
    block[12:20] = len(block).to_bytes(4, "little") + len(addresses).to_bytes(4, "little")
    block[24:32] = (1).to_bytes(8, "little")
    block[64:68] = (1).to_bytes(4, "little")
    summary = summary_of(block)
    assert summary is not None
    ruled_out = question(text).rules_out(summary, 1)
    assert ruled_out in (0, len(addresses))
    if any(pattern.matches(address.encode()) for address in addresses):
        assert ruled_out == 0


@pytest.mark.parametrize(
    "text", ["/area7/**", "/area7/light/3/level", "/*/light/3/nowhere", "/**/area9/**", "/area11/*/4*/level", "/no"]
)
def test_little_is_read_and_nothing_missed(log: Path, text: str) -> None:
    kept = Kept(log)
    for _ in range(2):
        whole, everything = read(kept, None)
        blocks, found = read(kept, question(text))
        assert matching(found, text) == matching(everything, text)
        # Beside those that match: what is not joined yet, and one in twenty or so for a wrong yes.
        assert len(blocks) < len(whole) // 2, (len(blocks), len(whole))
        kept.close()
        kept = Kept(log)
    kept.close()


def test_times_are_told_by_summaries_too(log: Path) -> None:
    kept = Kept(log)
    whole, everything = read(kept, None)
    newest = max(record.wall_us for record in everything)
    blocks, _ = read(kept, question("/**", newest + 1))
    assert len(blocks) <= 2 < len(whole)
    blocks, found = read(kept, question("/**"))
    assert found == everything
    kept.close()


def test_small_commits_are_found_by_address_once_they_are_joined(tmp_path: Path) -> None:
    kept = Kept(tmp_path)
    line = kept.rig.line()
    for number in range(1_600):
        line.feed([set_payload(b"/%d/a/%d" % (number // 100, number), number)])
        kept.commit()
    _, everything = read(kept, None)
    _, found = read(kept, question("/3/**"))
    assert matching(found, "/3/**") == matching(everything, "/3/**") == list(range(301, 401))
    assert len(found) < len(everything)
    kept.close()


def summaries(directory: Path) -> list[int]:
    with lmdb.open(str(directory)) as env, env.begin() as txn, txn.cursor() as cursor:
        found = []
        there = cursor.set_range(SUMMARY_PREFIX)
        while there and cursor.key()[:1] == SUMMARY_PREFIX:
            found.append(int.from_bytes(cursor.key()[1:], "big"))
            there = cursor.next()
        return found


def test_summaries_go_with_their_blocks(tmp_path: Path) -> None:
    kept = fill(Kept(tmp_path, retention=Retention(max_bytes=1 << 18)))
    kept.commit()
    oldest = kept.store.oldest_number
    assert oldest > 1
    kept.close()
    kept_summaries = summaries(tmp_path)
    assert kept_summaries
    assert min(kept_summaries) >= oldest


def test_a_damaged_summary_hides_nothing(log: Path) -> None:
    kept = Kept(log)
    whole, everything = read(kept, None)
    kept.close()
    numbers = summaries(log)
    with lmdb.open(str(log)) as env, env.begin(write=True) as txn:
        for number in numbers:
            summary = bytearray(txn.get(summary_key(number)) or b"")
            summary[-1 - number % 8] ^= 0xFF
            txn.put(summary_key(number), bytes(summary))
    kept = Kept(log)
    blocks, found = read(kept, question("/area7/**"))
    assert len(blocks) == len(whole)
    assert matching(found, "/area7/**") == matching(everything, "/area7/**")
    kept.close()
