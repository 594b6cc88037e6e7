"""The one matcher: which addresses a pattern stands for, and whether one pattern stays inside another.

Responsible for the validity of patterns, for matching an address, and for the subset test that scopes need. Delivery,
snapshots, queries, replay and scopes all ask here, so that they can never disagree (wire.md 4.2). Knows nothing of
sessions, subscriptions or tokens.

This file is plain Python and runs as such; it is also compiled, with the C types in pattern.pxd beside it.

The rules, wire.md 4.2 column `route`:

- `*` as a whole segment is exactly one segment, which may be empty; `**` as a whole segment is any number of segments,
  none included, so `/a/**` matches `/a`.
- A segment that contains `*` otherwise (`zone5*`) is *partial*. It stands for one segment, and then the whole pattern
  must match the whole address as a glob: `*`, `?`, `[a-z]`, `[!a]`, `{x,y}` and `\\` are special in such a pattern.
  There `/**` at the end wants its separator: `/g/a*/**` does not match `/g/a`.
- A pattern without `*` is compared literally, whatever else it contains.
"""

from __future__ import annotations

from collections.abc import Sequence

from clasp_edge.wire.errors import PatternError
from clasp_edge.wire.glob_program import (
    ANYTHING,
    BYTE,
    CLASS,
    FORK,
    JUMP,
    SLASH,
    STAR,
    TOO_MUCH,
    check_program,
    compile_glob,
    is_straight,
)
from clasp_edge.wire.limits import MAX_ADDRESS_BYTES, MAX_ADDRESS_SEGMENTS

MAX_FORKED_PROGRAM = 256
"""Instructions of a program with several paths (braces, `**` before a wildcard inside a segment): each of them may
have to be followed for each byte of an address."""

__all__ = ["Pattern", "PatternError", "covers", "overlap"]

_SPECIAL = (b"*", b"?", b"[", b"{", b"\\")

_PATHS_COST = 2
"""What an instruction of a program with several paths takes, in those of a straight one, as measured."""

_SLASH = SLASH
_ASTERISK = 0x2A

# What matching a pattern takes, cheapest first.
_LITERAL = 0  # compare
_EVERYTHING = 1  # nothing: `/**`
_SUBTREE = 2  # compare a prefix: `/x/y/**`
_SEGMENTS = 3  # walk the segments
_GLOB = 4  # walk the segments, then run the glob program on all its paths at once
_STRAIGHT = 5  # walk the segments, then follow the glob program, which has one path only

# Instructions of a glob program, here as C integers (pattern.pxd).
_BYTE, _CLASS, _STAR, _ANYTHING, _FORK, _JUMP = BYTE, CLASS, STAR, ANYTHING, FORK, JUMP


class Pattern:
    """A valid pattern of addresses, ready to match. Immutable, hashable, equal to another with the same text.

    `text` is the pattern as given. `segments` are its parts between slashes, without the first slash. `literal` is true
    when it contains no `*` and so stands for one address only. `partial` is true when some segment contains `*` without
    being `*` or `**`. `prefix` is the longest text known to begin every address that matches (the empty address, which
    is read as `/`, aside): `/a/**` has `/a`, because it matches `/a`, and `/a/*` has `/a/`. `cost` is what matching
    takes for each byte of an address at most, in steps of a few nanoseconds; 0 for all that are not partial.

    Raises PatternError with a text that begins with `invalid address: ` or `invalid pattern: `.
    """

    text: bytes
    segments: tuple[bytes, ...]
    prefix: bytes
    literal: bool
    partial: bool
    cost: int

    def __init__(self, text: bytes) -> None:
        _check(text)
        self.text = text
        self.segments = tuple(text[1:].split(b"/"))
        self.literal = b"*" not in text
        self.partial = any(map(_is_partial, self.segments))
        self.prefix = _literal_prefix(self.segments)
        self._root = b""
        self._program = b""
        self._classes = b""
        self._last_star = 0
        self.cost = 0
        if self.literal:
            self._kind = _LITERAL
        elif _needs_nothing(self.segments):
            self._kind = _EVERYTHING
        elif self.partial:
            self._program, self._classes = compile_glob(text)
            self.cost = len(self._program) // 3
            self._last_star = check_program(self._program, self.segments)
            if is_straight(self._program):
                self._kind = _STRAIGHT
            else:
                self._kind = _GLOB
                if self.cost > MAX_FORKED_PROGRAM:
                    raise PatternError(f"invalid pattern: {TOO_MUCH}, at most {MAX_FORKED_PROGRAM} bytes with braces")
                self.cost *= _PATHS_COST
            # What stands before the first wildcard is walked once for an address, not once for each of its bytes.
            self.cost = max(1, self.cost - len(_before_wildcards(text)))
        elif text.endswith(b"/**") and text.count(b"*") == 2:
            self._kind = _SUBTREE
            self._root = text[:-3]
        else:
            self._kind = _SEGMENTS

    def matches(self, address: bytes) -> bool:
        """Tell whether the address is one this pattern stands for.

        The empty address is read as `/`. Anything else that does not begin with `/` is no address, and only `/**`
        takes it. The time is bounded by the product of both lengths, whatever the pattern.
        """
        if self._kind == _LITERAL:
            return address == self.text or (not address and self.text == b"/")
        if self._kind == _EVERYTHING:
            return True
        if not address:
            address = b"/"
        if not address.startswith(self.prefix):
            return False
        if self._kind == _SUBTREE:
            return len(address) == len(self._root) or address[len(self._root)] == _SLASH
        if not self._match_segments(address):
            return False
        if self._kind == _STRAIGHT:
            return self._match_straight(address)
        return self._kind == _SEGMENTS or self._match_glob(address)

    def _match_segments(self, address: bytes) -> bool:
        """Walk both by segments. Only the last `**` seen ever needs to give way, so this stays quadratic at worst."""
        text = self.text
        text_end = len(text)
        address_end = len(address)
        pattern = text
        subject = address
        p = 1  # where the next segment of the pattern begins; past the end when there is none
        a = 1  # the same for the address
        retry_p = 0  # after the last `**`; 0 while there was none
        retry_a = 0
        while a <= address_end:
            a_end = a
            while a_end < address_end and subject[a_end] != _SLASH:
                a_end += 1
            if p <= text_end:
                p_end = p
                starred = False
                while p_end < text_end and pattern[p_end] != _SLASH:
                    if pattern[p_end] == _ASTERISK:
                        starred = True
                    p_end += 1
                if starred and p_end - p == 2 and pattern[p] == _ASTERISK and pattern[p + 1] == _ASTERISK:
                    if p_end == text_end:
                        return True
                    p = p_end + 1
                    retry_p = p
                    retry_a = a
                    continue
                same = starred  # `*`, or a partial segment, for which the glob has the last word
                if not starred and p_end - p == a_end - a:
                    i = 0
                    while p + i < p_end and pattern[p + i] == subject[a + i]:
                        i += 1
                    same = p + i == p_end
                if same:
                    p = p_end + 1
                    a = a_end + 1
                    continue
            if not retry_p:
                return False
            # The last `**` takes one segment more, and the rest of the pattern is tried behind it.
            while retry_a < address_end and subject[retry_a] != _SLASH:
                retry_a += 1
            retry_a += 1
            a = retry_a
            p = retry_p
        # The address is used up: what is left of the pattern must be content with no segment.
        while p <= text_end:
            if p + 2 > text_end or pattern[p] != _ASTERISK or pattern[p + 1] != _ASTERISK:
                return False
            if p + 2 < text_end and pattern[p + 2] != _SLASH:
                return False
            p += 3
        return True

    def _match_straight(self, address: bytes) -> bool:
        """Follow a program without forks. Only the last `*` of a segment ever needs to give way, and behind the last
        one of all each byte has its place: so this is quadratic at worst, and linear for the usual pattern."""
        program = self._program
        classes = self._classes
        code = program
        sets = classes
        subject = address
        end = len(address)
        accept = len(program) // 3
        last_star = self._last_star
        i = 0
        s = 0
        retry_s = -1  # the instruction behind the last `*` of the segment, -1 while it had none
        retry_i = 0
        while True:
            if s < accept:
                operation = code[3 * s]
                if operation == _ANYTHING:
                    return True  # it stands only at the end
                if operation == _STAR:
                    s += 1
                    retry_s = s
                    retry_i = i
                    if s - 1 == last_star:
                        # As many bytes are left as instructions: the star takes what is before them.
                        if end - i < accept - s:
                            return False
                        while i < end - (accept - s):
                            if subject[i] == _SLASH:
                                return False
                            i += 1
                        retry_s = -1
                    continue
                if i < end:
                    byte = subject[i]
                    argument = code[3 * s + 1] + 256 * code[3 * s + 2]
                    if operation == _BYTE:
                        taken = byte == argument
                    else:
                        taken = (sets[32 * argument + (byte >> 3)] >> (byte & 7) & 1) != 0
                    if taken:
                        s += 1
                        i += 1
                        if byte == _SLASH:
                            retry_s = -1  # the segment is settled
                        continue
            elif i == end:
                return True
            if retry_s < 0 or retry_i >= end or subject[retry_i] == _SLASH:
                return False
            retry_i += 1
            i = retry_i
            s = retry_s

    def _match_glob(self, address: bytes) -> bool:
        """Run the glob program on all its paths at once: one pass over the instructions for each byte."""
        program = self._program
        classes = self._classes
        code = program
        sets = classes
        subject = address
        end = len(address)
        accept = len(program) // 3
        first_row = bytearray(accept + 1)
        second_row = bytearray(accept + 1)
        now = first_row  # which instructions may take the next byte
        after = second_row  # which may take the byte behind it
        now[0] = 1
        first = 0  # no instruction before this one is marked
        last = 0  # and none behind this one
        i = 0
        while i <= end:
            byte = subject[i] if i < end else 0
            next_first = -1
            next_last = 0
            s = first
            while s < accept and s <= last:
                if now[s]:
                    now[s] = 0
                    operation = code[3 * s]
                    argument = code[3 * s + 1] + 256 * code[3 * s + 2]
                    taken = -1
                    if operation == _FORK:
                        now[s + 1] = 1
                        now[argument] = 1
                        last = max(last, s + 1, argument)
                    elif operation == _JUMP:
                        now[argument] = 1
                        last = max(last, argument)
                    elif operation == _STAR:
                        now[s + 1] = 1
                        last = max(last, s + 1)
                        if byte != _SLASH:
                            taken = s
                    elif operation == _ANYTHING:
                        now[s + 1] = 1
                        last = max(last, s + 1)
                        taken = s
                    elif operation == _BYTE:
                        if byte == argument:
                            taken = s + 1
                    elif sets[32 * argument + (byte >> 3)] >> (byte & 7) & 1:
                        taken = s + 1
                    if taken >= 0:
                        after[taken] = 1
                        next_last = max(next_last, taken)
                        if next_first < 0 or taken < next_first:
                            next_first = taken
                s += 1
            if i == end:
                break
            if next_first < 0:
                return False
            now[accept] = 0
            now, after = after, now
            first = next_first
            last = next_last
            i += 1
        return now[accept] != 0

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Pattern) and self.text == other.text

    def __hash__(self) -> int:
        return hash(self.text)

    def __repr__(self) -> str:
        return f"Pattern({self.text!r})"


def overlap(one: Pattern, other: Pattern) -> bool:
    """Tell whether some address may match both patterns: rather yes too often than no wrongly.

    Where both have a wildcard inside a segment, only what stands before the wildcards is compared. The time is bounded
    by the product of their numbers of segments.
    """
    # meets[j]: the rest of `one`, from the row's segment on, may have an address in common with other.segments[j:].
    mine, theirs = one.segments, other.segments
    meets = [_needs_nothing(theirs[j:]) for j in range(len(theirs) + 1)]
    for segment in reversed(mine):
        row = [False] * (len(theirs) + 1)
        for j in range(len(theirs), -1, -1):
            if segment == b"**":
                # It takes none of the other's segments, or one more of them.
                row[j] = meets[j] or (j < len(theirs) and row[j + 1])
            elif j < len(theirs):
                if theirs[j] == b"**":
                    row[j] = row[j + 1] or meets[j]
                else:
                    row[j] = meets[j + 1] and _segments_meet(segment, theirs[j])
        meets = row
    return meets[0]


def _segments_meet(one: bytes, other: bytes) -> bool:
    if b"*" not in one and b"*" not in other:
        return one == other
    if b"*" not in one:
        return one.startswith(_before_wildcards(other))
    if b"*" not in other:
        return other.startswith(_before_wildcards(one))
    mine, theirs = _before_wildcards(one), _before_wildcards(other)
    return mine.startswith(theirs) or theirs.startswith(mine)


def _before_wildcards(segment: bytes) -> bytes:
    """What every segment that this one with `*` stands for begins with."""
    end = len(segment)
    for mark in _SPECIAL:
        at = segment.find(mark)
        if 0 <= at < end:
            end = at
    return segment[:end]


def covers(outer: Pattern, inner: Pattern) -> bool:
    """Tell whether every address that matches `inner` is sure to match `outer` too.

    The subset test of scopes (security.md 10.3): the text of a pattern must never be taken for an address, or
    `/pub/*` would grant `/pub/**`. It never says yes wrongly. It may say no where a closer look would find yes: a
    partial pattern covers itself and the literal addresses it matches, no other pattern.
    """
    if outer.text == inner.text:
        return True
    if inner.literal:
        return outer.matches(inner.text)
    if outer.partial or outer.literal:
        return False
    # A partial segment of `inner` stands for fewer addresses than `*` would: taking it for `*` is on the safe side.
    wide = _normalised(outer.segments)
    narrow = _normalised(tuple([b"*" if _is_partial(segment) else segment for segment in inner.segments]))
    # fits[w]: the rest of `narrow`, from the row's segment on, stays inside wide[w:]. Rows are built from the end.
    fits = [_needs_nothing(wide[w:]) for w in range(len(wide) + 1)]
    for segment in reversed(narrow):
        row = [False] * (len(wide) + 1)
        for w in range(len(wide) - 1, -1, -1):
            if wide[w] == b"**":
                row[w] = fits[w] or row[w + 1]
            elif segment != b"**" and (wide[w] == b"*" or wide[w] == segment):
                row[w] = fits[w + 1]
        fits = row
    return fits[0]


def _check(text: bytes) -> None:
    """Refuse what wire.md 4.1 calls invalid, and what is beyond our limits."""
    if not text:
        raise PatternError("invalid address: it is empty, it must start with '/'")
    if not text.startswith(b"/"):
        raise PatternError("invalid address: it must start with '/'")
    if len(text) > MAX_ADDRESS_BYTES:
        raise PatternError(f"invalid address: {len(text)} bytes, at most {MAX_ADDRESS_BYTES} are allowed")
    if text.count(b"/") > MAX_ADDRESS_SEGMENTS:
        raise PatternError(f"invalid address: {text.count(b'/')} segments, at most {MAX_ADDRESS_SEGMENTS} are allowed")
    if b"\0" in text:
        raise PatternError("invalid address: it contains a NUL byte")
    if b"//" in text:
        raise PatternError("invalid address: empty segment, only the last one may be empty")
    try:
        text.decode()
    except UnicodeDecodeError as error:
        raise PatternError(f"invalid address: not valid UTF-8 at byte {error.start}") from None


def _is_partial(segment: bytes) -> bool:
    return b"*" in segment and segment != b"*" and segment != b"**"


def _needs_nothing(segments: Sequence[bytes]) -> bool:
    """Tell whether these segments are content with no segment of an address."""
    return segments.count(b"**") == len(segments)


def _literal_prefix(segments: tuple[bytes, ...]) -> bytes:
    """Collect what every matching address begins with: literal segments, then the first bytes of a partial one."""
    prefix = b""
    for index, segment in enumerate(segments):
        if b"*" not in segment:
            prefix += b"/" + segment
            continue
        if _is_partial(segment):
            return prefix + b"/" + _before_wildcards(segment)
        if _needs_nothing(segments[index:]):
            return prefix  # `/a/**` matches `/a`
        return prefix + b"/"
    return prefix


def _normalised(segments: tuple[bytes, ...]) -> list[bytes]:
    """Give a run of wildcards one form, the `*` first and one `**` behind: `**/*` and `*/**` mean the same."""
    result: list[bytes] = []
    open_ended = False
    for segment in segments:
        if segment == b"**":
            open_ended = True
        elif segment == b"*":
            result.append(segment)
        else:
            if open_ended:
                result.append(b"**")
            result.append(segment)
            open_ended = False
    if open_ended:
        result.append(b"**")
    return result
