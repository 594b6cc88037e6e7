"""JSON to an encoded CLASP value in one pass over the bytes, without an object for each part of it.

What devices say is JSON more often than not. Settled here is what leaves no question; everything else is left to the
slow way, which has the last word: `\\u` escapes, control characters, integers beyond 64 bits, `-0`, numbers of many
digits, repeated keys, deep nesting, and some of what is no JSON. Knows neither topics nor packets.
"""

from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memcpy, memset

from clasp_edge.dataplane.bytes cimport put16, put64
from clasp_edge.dataplane.scan cimport utf8_valid
from clasp_edge.dataplane.value_types cimport T_ARRAY, T_BOOL, T_F64, T_I64, T_MAP, T_NULL, T_STRING

cdef extern from "<endian.h>" nogil:
    uint64_t le64toh(uint64_t word)

cdef extern from * nogil:
    """
    #define JSON_ONES 0x0101010101010101u
    #define JSON_HIGH_BITS 0x8080808080808080u
    #define JSON_FACTOR 0x9E3779B97F4A7C15u
    """
    int ctz "__builtin_ctzll"(uint64_t word)
    const uint64_t ONES "JSON_ONES"
    const uint64_t HIGH_BITS "JSON_HIGH_BITS"
    const uint64_t QUOTES "(JSON_ONES * 0x22)"
    const uint64_t BACKSLASHES "(JSON_ONES * 0x5C)"
    const uint64_t SPACES "(JSON_ONES * 0x20)"
    const uint64_t FACTOR "JSON_FACTOR"

cdef enum:
    LARGEST = 65535             # bytes of JSON, and elements of a map or an array
    DEEPEST = 32                # levels
    MOST_SLOTS = 16384          # for the keys of 64 KiB of the shortest entries
    FEWEST_SLOTS = 64
    EXACT_DIGITS = 15           # every whole number of so many is a double,
    EXACT_POWER = 22            # and so is ten to the power of so much: their quotient is rounded once

cdef double[23] POWERS
for _power in range(23):
    POWERS[_power] = 10.0 ** _power

cdef uint32_t[MOST_SLOTS] seen      # hashes of the keys so far, each with the number of its map


cdef struct Scan:
    const uint8_t* at
    const uint8_t* end
    uint8_t* out
    uint8_t* out_end
    uint32_t slots              # of `seen`, a power of two
    uint32_t keys
    uint32_t maps
    bint not_ascii


cdef Py_ssize_t json_value(const uint8_t* json, size_t size, uint8_t* target, size_t room, int* type) noexcept:
    """The size of the value's data at `target`, and its type; or why there is none. The result is that of
    `devices.values.encoded_value_of`."""
    cdef Scan scan
    cdef int verdict
    if size > LARGEST:
        return JSON_UNSETTLED
    scan.at = json
    scan.end = json + size
    scan.out = target
    scan.out_end = target + room
    scan.keys = 0
    scan.maps = 0
    scan.not_ascii = False
    scan.slots = FEWEST_SLOTS
    while scan.slots < MOST_SLOTS and scan.slots * 4 < size:
        scan.slots *= 2
    memset(seen, 0, scan.slots * sizeof(uint32_t))
    verdict = _data(&scan, 0, type)
    if verdict == 0:
        _skip(&scan)
        if scan.at != scan.end:
            return JSON_NONE
    elif verdict == JSON_TOO_LARGE:
        # Text, whether it is JSON or not; but only where it is text.
        return JSON_TOO_LARGE if utf8_valid(json, size) else JSON_UNSETTLED
    else:
        return verdict
    if scan.not_ascii and not utf8_valid(json, size):
        return JSON_UNSETTLED
    return scan.out - target


cdef inline void _skip(Scan* scan) noexcept nogil:
    if scan.at < scan.end and scan.at[0] > 0x20:
        return                      # most have no space
    while scan.at < scan.end and (scan.at[0] == b" " or scan.at[0] == b"\n" or scan.at[0] == b"\r"
                                  or scan.at[0] == b"\t"):
        scan.at += 1


cdef int _data(Scan* scan, int depth, int* type) noexcept nogil:
    """The next value's data; 0 or why not."""
    cdef uint8_t c
    _skip(scan)
    if scan.at == scan.end:
        return JSON_NONE
    c = scan.at[0]
    if c == b'"':
        type[0] = T_STRING
        scan.at += 1
        return _string(scan, NULL)
    if c == b"{" or c == b"[":
        if depth == DEEPEST:
            return JSON_UNSETTLED
        scan.at += 1
        type[0] = T_MAP if c == b"{" else T_ARRAY
        return _several(scan, depth + 1, c == b"{")
    if c == b"-" or 0x30 <= c <= 0x39:
        return _number(scan, type)
    if c == b"t":
        type[0] = T_BOOL
        return _word(scan, b"true", 4, 1)
    if c == b"f":
        type[0] = T_BOOL
        return _word(scan, b"false", 5, 0)
    if c == b"n":
        type[0] = T_NULL
        return _word(scan, b"null", 4, -1)
    # Some readers know NaN and Infinity.
    return JSON_UNSETTLED if c == b"N" or c == b"I" else JSON_NONE


cdef int _word(Scan* scan, const char* word, int size, int value) noexcept nogil:
    """A word, which is one byte of data, or none where `value` is negative."""
    cdef int i
    if scan.end - scan.at < size:
        return JSON_NONE
    for i in range(size):
        if scan.at[i] != <uint8_t>word[i]:
            return JSON_NONE
    scan.at += size
    if value >= 0:
        if scan.out == scan.out_end:
            return JSON_TOO_LARGE
        scan.out[0] = <uint8_t>value
        scan.out += 1
    return 0


cdef int _several(Scan* scan, int depth, bint is_map) noexcept nogil:
    """The elements of an array or the entries of a map, behind the bracket that opens it."""
    cdef uint8_t closing = b"}" if is_map else b"]"
    cdef uint8_t* count_at = scan.out
    cdef uint8_t* type_at
    cdef uint32_t count = 0
    cdef uint32_t hash
    cdef uint8_t next
    cdef int verdict
    cdef int type = 0
    scan.maps += is_map
    cdef uint32_t number = scan.maps
    if scan.out_end - scan.out < 2:
        return JSON_TOO_LARGE
    scan.out += 2
    _skip(scan)
    if scan.at < scan.end and scan.at[0] == closing:
        scan.at += 1
        put16(count_at, 0)
        return 0
    while True:
        if is_map:
            _skip(scan)
            if scan.at == scan.end or scan.at[0] != b'"':
                return JSON_NONE
            scan.at += 1
            hash = number
            verdict = _string(scan, &hash)
            if verdict:
                return verdict
            if not _is_new(scan, hash):
                return JSON_UNSETTLED
            _skip(scan)
            if scan.at == scan.end or scan.at[0] != b":":
                return JSON_NONE
            scan.at += 1
        if scan.out == scan.out_end:
            return JSON_TOO_LARGE
        type_at = scan.out
        scan.out += 1
        verdict = _data(scan, depth, &type)
        if verdict:
            return verdict
        type_at[0] = <uint8_t>type
        count += 1
        _skip(scan)
        if scan.at == scan.end:
            return JSON_NONE
        next = scan.at[0]
        scan.at += 1
        if next == closing:
            break
        if next != b",":
            return JSON_NONE
    put16(count_at, <unsigned short>count)
    return 0


cdef inline bint _is_new(Scan* scan, uint32_t hash) noexcept nogil:
    """Note a key; False where its map has had it, or perhaps so."""
    cdef uint32_t slot
    if hash == 0:
        hash = 1
    if scan.keys * 8 >= scan.slots * 7:
        return False
    scan.keys += 1
    slot = hash & (scan.slots - 1)
    while seen[slot]:
        if seen[slot] == hash:
            return False
        slot = (slot + 1) & (scan.slots - 1)
    seen[slot] = hash
    return True


cdef int _string(Scan* scan, uint32_t* hash) noexcept nogil:
    """A string behind its opening quote, with its length before it. `hash`, if given, is mixed with its bytes."""
    cdef const uint8_t* at = scan.at
    cdef const uint8_t* end = scan.end
    cdef uint8_t* out = scan.out + 2
    cdef uint8_t* out_end = scan.out_end
    cdef uint64_t any = 0
    cdef uint64_t word, special
    cdef uint8_t c
    cdef int plain
    cdef size_t size
    if out_end - scan.out < 2:
        return JSON_TOO_LARGE
    while True:
        # Eight bytes at a time up to one that means something, then that one; byte by byte near the end.
        while end - at >= 8 and out_end - out >= 8:
            memcpy(&word, at, 8)
            memcpy(out, &word, 8)
            word = le64toh(word)
            special = _special(word)
            if special:
                plain = ctz(special) >> 3
                any |= word & ((<uint64_t>1 << (8 * plain)) - 1)
                at += plain
                out += plain
                break
            any |= word
            at += 8
            out += 8
        if at == end:
            return JSON_NONE
        c = at[0]
        at += 1
        if c == b'"':
            break
        if c < 0x20:
            return JSON_UNSETTLED
        if c == b"\\":
            if at == end:
                return JSON_UNSETTLED
            c = _escaped(at[0])
            at += 1
            if c == 0:
                return JSON_UNSETTLED
        else:
            any |= c
        if out == out_end:
            return JSON_TOO_LARGE
        out[0] = c
        out += 1
    size = <size_t>(out - scan.out) - 2
    put16(scan.out, <unsigned short>size)
    if any & HIGH_BITS:
        scan.not_ascii = True
    if hash != NULL:
        hash[0] = _mixed(hash[0], scan.out + 2, size)
    scan.out = out
    scan.at = at
    return 0


cdef inline uint64_t _special(uint64_t word) noexcept nogil:
    """Of eight bytes, the high bits of those that are a quote, a backslash or a control character. The lowest one is
    right; above it a borrow may have set others."""
    cdef uint64_t quotes = word ^ QUOTES
    cdef uint64_t escapes = word ^ BACKSLASHES
    return (((quotes - ONES) & ~quotes) | ((escapes - ONES) & ~escapes) | ((word - SPACES) & ~word)) & HIGH_BITS


cdef inline uint32_t _mixed(uint32_t hash, const uint8_t* key, size_t size) noexcept nogil:
    """A hash of the key. The last bytes are read as whole words too, which overlap those before."""
    cdef uint64_t mixed = (hash ^ (<uint64_t>size << 32)) * FACTOR
    cdef uint64_t word = 0
    cdef uint32_t half
    cdef size_t at = 0
    if size >= 8:
        while size - at > 8:
            memcpy(&word, key + at, 8)
            mixed = (mixed ^ word) * FACTOR
            mixed ^= mixed >> 32
            at += 8
        memcpy(&word, key + size - 8, 8)
    elif size >= 4:
        memcpy(&half, key, 4)
        word = half
        memcpy(&half, key + size - 4, 4)
        word |= <uint64_t>half << 32
    elif size:
        word = key[0] | (<uint64_t>key[size >> 1] << 8) | (<uint64_t>key[size - 1] << 16)
    mixed = (mixed ^ word) * FACTOR
    return <uint32_t>(mixed >> 32) ^ <uint32_t>mixed


cdef inline uint8_t _escaped(uint8_t c) noexcept nogil:
    """What a backslash with this stands for; 0: left to others."""
    if c == b'"' or c == b"\\" or c == b"/":
        return c
    if c == b"n":
        return 0x0A
    if c == b"t":
        return 0x09
    if c == b"r":
        return 0x0D
    if c == b"b":
        return 0x08
    if c == b"f":
        return 0x0C
    return 0


cdef int _number(Scan* scan, int* type) noexcept nogil:
    cdef const uint8_t* at = scan.at
    cdef bint negative = at[0] == b"-"
    cdef const uint8_t* begin
    cdef uint64_t magnitude = 0
    cdef uint64_t bits
    cdef int digits = 0
    cdef int power = 0
    cdef int exponent = 0
    cdef bint falls
    cdef bint whole = True
    cdef double number
    at += negative
    begin = at
    while at < scan.end and 0x30 <= at[0] <= 0x39:
        magnitude = magnitude * 10 + (at[0] - 0x30)
        digits += 1
        if digits > 18:
            return JSON_UNSETTLED
        at += 1
    if digits == 0 or (begin[0] == 0x30 and digits > 1):
        return JSON_UNSETTLED
    if at < scan.end and at[0] == b".":
        whole = False
        at += 1
        begin = at
        while at < scan.end and 0x30 <= at[0] <= 0x39:
            magnitude = magnitude * 10 + (at[0] - 0x30)
            digits += 1
            power -= 1
            if digits > 18:
                return JSON_UNSETTLED
            at += 1
        if at == begin:
            return JSON_UNSETTLED
    if at < scan.end and (at[0] == b"e" or at[0] == b"E"):
        whole = False
        at += 1
        falls = at < scan.end and at[0] == b"-"
        if at < scan.end and (at[0] == b"-" or at[0] == b"+"):
            at += 1
        begin = at
        while at < scan.end and 0x30 <= at[0] <= 0x39:
            exponent = exponent * 10 + (at[0] - 0x30)
            if at - begin > 2:
                return JSON_UNSETTLED
            at += 1
        if at == begin:
            return JSON_UNSETTLED
        power += -exponent if falls else exponent
    if whole and magnitude == 0 and negative:
        return JSON_UNSETTLED
    if scan.out_end - scan.out < 8:
        return JSON_TOO_LARGE
    if whole:
        type[0] = T_I64
        put64(scan.out, ~magnitude + 1 if negative else magnitude)
    else:
        if digits > EXACT_DIGITS or power > EXACT_POWER or power < -EXACT_POWER:
            return JSON_UNSETTLED
        number = <double>magnitude
        number = number * POWERS[power] if power >= 0 else number / POWERS[-power]
        if negative:
            number = -number
        memcpy(&bits, &number, 8)
        type[0] = T_F64
        put64(scan.out, bits)
    scan.out += 8
    scan.at = at
    return 0
