"""OSC packets read without I/O: a message becomes an address and an encoded CLASP value, never a Python object.

OSC 1.0 with the common types of 1.1. The value mapping is that of router.md 10: no argument is null, one is that value,
several are an array. Lenient where devices are sloppy and nothing can be misunderstood: missing padding at the very
end, bytes after the last argument, an address alone, one without its slash, spaces between type tags, type tags without
their comma or padding, a blob whose size is little-endian. Knows no socket and no param.
"""

from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdint cimport uint32_t
from libc.string cimport memchr, memcmp, memcpy

from clasp_edge.dataplane.bytes cimport get32, put16, put64
from clasp_edge.dataplane.scan cimport utf8_valid
from clasp_edge.dataplane.value_types cimport T_ARRAY, T_BOOL, T_BYTES, T_F64, T_I64, T_NULL, T_STRING

cdef extern from "<math.h>" nogil:
    const double INFINITY

cdef enum:
    MAX_ARRAY_DEPTH = 32        # half of what a CLASP value may nest
    BUNDLE_HEADER = 16

FAULTS = {
    NOT_OSC: "neither a message nor a bundle",
    TRUNCATED: "it ends too early",
    NO_TYPE_TAGS: "arguments without a type tag string",
    UNKNOWN_TAG: "an argument of an unknown type",
    UNBALANCED: "brackets of arrays that do not match",
    TOO_DEEP: "nested too deep",
    TOO_LARGE: "a value too large for CLASP",
    BAD_ELEMENT: "a bundle whose elements do not fit",
}


class OscError(ValueError):
    """The packet cannot be read; the text says why."""


cdef bint is_bundle(const uint8_t* p, size_t size) noexcept nogil:
    return size >= 8 and memcmp(p, <const char*>b"#bundle", 8) == 0


cdef inline Py_ssize_t _string(const uint8_t* p, size_t size, size_t* next_at) noexcept nogil:
    """Length of the string at `p`, or -1; `next_at` is where the next field begins."""
    cdef const uint8_t* end = <const uint8_t*>memchr(p, 0, size)
    cdef size_t length
    if end == NULL:
        return -1
    length = end - p
    next_at[0] = (length + 4) & ~<size_t>3
    if next_at[0] > size:
        next_at[0] = size
    return length


cdef inline uint8_t* _i64(uint8_t* out, long long value) noexcept nogil:
    out[0] = T_I64
    put64(out + 1, <uint64_t>value)
    return out + 9


cdef inline uint8_t* _f64(uint8_t* out, double value) noexcept nogil:
    cdef uint64_t bits
    memcpy(&bits, &value, 8)
    out[0] = T_F64
    put64(out + 1, bits)
    return out + 9


cdef uint8_t* _text(uint8_t* out, const uint8_t* p, size_t size) noexcept nogil:
    """A string value. OSC says ASCII, devices send UTF-8 or Latin-1: what is not the one is the other. The caller has
    made sure of room for twice the size."""
    cdef uint8_t* start = out
    cdef size_t i
    out[0] = T_STRING
    out += 3
    if utf8_valid(p, size):
        memcpy(out, p, size)
        out += size
    else:
        for i in range(size):
            if p[i] < 0x80:
                out[0] = p[i]
                out += 1
            else:
                out[0] = 0xC0 | (p[i] >> 6)
                out[1] = 0x80 | (p[i] & 0x3F)
                out += 2
    put16(start + 1, <unsigned short>(out - start - 3))
    return out


cdef int read_message(const uint8_t* p, size_t size, uint8_t* room, OscMessage* message) noexcept nogil:
    """Read the message that fills `p`. 0, or a Fault. `room` (VALUE_ROOM bytes) takes the encoded value."""
    cdef size_t at
    cdef Py_ssize_t length
    cdef int i, fault
    if size == 0 or p[0] != c"/":
        return NOT_OSC
    length = _string(p, size, &at)
    if length < 0:
        # An address alone that even lacks its NUL; text of any other kind is none.
        for i in range(<int>size):
            if not 0x20 < p[i] < 0x7F:
                return TRUNCATED
        length = size
        at = size
    message.address = p
    message.address_size = <size_t>length
    message.is_pattern = False
    for i in range(<int>length):
        if p[i] == c"*" or p[i] == c"?" or p[i] == c"[" or p[i] == c"{" or (p[i] == c"/" and i and p[i - 1] == c"/"):
            message.is_pattern = True
            break
    message.value_type = T_NULL
    message.value = room
    message.value_size = 0
    message.has_arguments = False
    message.tail = NULL
    message.tail_size = 0
    message.plain = True
    p += at
    size -= at
    if size == 0:
        return 0                            # an address alone can only mean: no arguments
    if p[0] != c",":
        # Type tags that lack their comma; anything else would have to fit by chance to the last byte.
        return NO_TYPE_TAGS if p[0] == 0 or _read(p, p, size, True, True, room, message) else 0
    fault = _read(p, p + 1, size, False, True, room, message)
    if fault == TRUNCATED and not _read(p, p + 1, size, True, False, room, message):
        return 0
    return fault


cdef int _read(const uint8_t* start, const uint8_t* tags, size_t size, bint strict, bint padded, uint8_t* room,
               OscMessage* message) noexcept nogil:
    """The arguments whose type tags begin at `tags`; the string they are in begins at `start`, where `size` bytes are.
    With `strict` the arguments must end where the packet does; without `padded` they begin right behind the tags'
    NUL."""
    cdef const uint8_t* p = start
    cdef const uint8_t* end = start + size
    cdef bint sloppy = strict
    cdef uint8_t* out = room + 2            # the count of arguments comes first, if there are several
    cdef uint8_t* room_end = room + VALUE_ROOM
    cdef uint8_t* opened[MAX_ARRAY_DEPTH]
    cdef unsigned short counts[MAX_ARRAY_DEPTH + 1]
    cdef int depth = 0
    cdef size_t at, need
    cdef uint32_t word
    cdef float single
    cdef double number
    cdef uint64_t bits
    cdef int i
    cdef Py_ssize_t length
    cdef uint8_t tag
    length = _string(p, end - p, &at)
    if length < 0:
        return TRUNCATED
    if not padded:
        at = <size_t>(length + 1)
    p += at
    message.plain = True
    counts[0] = 0
    while True:
        tag = tags[0]
        tags += 1
        if tag == 0:
            break
        if tag == c" ":
            sloppy = True
            continue
        if tag != c"i" and tag != c"f" and tag != c"s" and tag != c"b" and tag != c"T" and tag != c"F" and tag != c"N":
            message.plain = False
        if tag == c"]":
            if depth == 0:
                return UNBALANCED
            depth -= 1
            put16(opened[depth] + 1, counts[depth + 1])
            continue
        if room_end - out < 48:             # the largest fixed size below is 39
            return TOO_LARGE
        counts[depth] += 1
        if tag == c"[":
            if depth == MAX_ARRAY_DEPTH:
                return TOO_DEEP
            out[0] = T_ARRAY
            opened[depth] = out
            out += 3
            depth += 1
            counts[depth] = 0
        elif tag == c"i" or tag == c"f" or tag == c"c" or tag == c"r" or tag == c"m":
            if end - p < 4:
                return TRUNCATED
            word = get32(p)
            if tag == c"i":
                out = _i64(out, <int>word)
            elif tag == c"f":
                memcpy(&single, &word, 4)
                out = _f64(out, single)
            elif tag == c"c":
                # A character in the low byte; more than ASCII is read as a code point, as far as there is one.
                out[0] = T_STRING
                out = _character(out, word)
            else:
                # Four bytes: red, green, blue, alpha; or port, status, data, data.
                out[0] = T_ARRAY
                put16(out + 1, 4)
                out += 3
                for i in range(4):
                    out = _i64(out, p[i])
            p += 4
        elif tag == c"h" or tag == c"d" or tag == c"t":
            if end - p < 8:
                return TRUNCATED
            bits = (<uint64_t>get32(p) << 32) | get32(p + 4)
            if tag == c"h":
                out = _i64(out, <long long>bits)
            elif tag == c"d":
                memcpy(&number, &bits, 8)
                out = _f64(out, number)
            else:
                out[0] = T_NULL             # as the reference router has it
                out += 1
            p += 8
        elif tag == c"s" or tag == c"S":
            length = _string(p, end - p, &at)
            if length < 0:
                # The last string of all may lack its NUL; read on it would be somebody else's bytes.
                if strict or tags[0] != 0 or p >= end:
                    return TRUNCATED
                length = end - p
                at = <size_t>length
                sloppy = True
            if (at & 3) != 0:
                sloppy = True
            if 2 * length + 3 > room_end - out and (
                    length + 3 > room_end - out or not utf8_valid(p, <size_t>length)):
                return TOO_LARGE
            out = _text(out, p, <size_t>length)
            p += at
        elif tag == c"b":
            if end - p < 4:
                return TRUNCATED
            word = get32(p)
            p += 4
            if word > <size_t>(end - p):
                word = (word >> 24) | (word >> 8 & 0xFF00) | (word << 8 & 0xFF0000) | (word << 24)
                if word > <size_t>(end - p) or <size_t>(end - p) - word > 3:
                    return TRUNCATED
                sloppy = True
            if word > 65535 or <Py_ssize_t>word + 3 > room_end - out:
                return TOO_LARGE
            out[0] = T_BYTES
            put16(out + 1, <unsigned short>word)
            memcpy(out + 3, p, word)
            out += 3 + word
            need = (word + 3) & ~<size_t>3
            if need > <size_t>(end - p):
                need = <size_t>(end - p)
                sloppy = True
            p += need
        elif tag == c"T" or tag == c"F":
            out[0] = T_BOOL
            out[1] = tag == c"T"
            out += 2
        elif tag == c"N":
            out[0] = T_NULL
            out += 1
        elif tag == c"I":
            out = _f64(out, INFINITY)
        else:
            return UNKNOWN_TAG
    if depth:
        return UNBALANCED
    if strict and p != end:
        return TRUNCATED
    message.has_arguments = counts[0] != 0
    if not sloppy and start[0] == c",":
        message.tail = start
        message.tail_size = p - start
    if counts[0] == 1:
        message.value_type = room[2]
        message.value = room + 3
    elif counts[0] > 1:
        message.value_type = T_ARRAY
        put16(room, counts[0])
        message.value = room
    else:
        return 0
    message.value_size = out - message.value
    return 0


cdef uint8_t* _character(uint8_t* out, uint32_t code) noexcept nogil:
    """A string value of one character; what is none in Unicode becomes U+FFFD."""
    if code > 0x10FFFF or 0xD800 <= code <= 0xDFFF:
        code = 0xFFFD
    if code < 0x80:
        put16(out + 1, 1)
        out[3] = code
        return out + 4
    if code < 0x800:
        put16(out + 1, 2)
        out[3] = 0xC0 | (code >> 6)
        out[4] = 0x80 | (code & 0x3F)
        return out + 5
    if code < 0x10000:
        put16(out + 1, 3)
        out[3] = 0xE0 | (code >> 12)
        out[4] = 0x80 | (code >> 6 & 0x3F)
        out[5] = 0x80 | (code & 0x3F)
        return out + 6
    put16(out + 1, 4)
    out[3] = 0xF0 | (code >> 18)
    out[4] = 0x80 | (code >> 12 & 0x3F)
    out[5] = 0x80 | (code >> 6 & 0x3F)
    out[6] = 0x80 | (code & 0x3F)
    return out + 7


cdef int check_packet(const uint8_t* p, size_t size, int nesting) noexcept nogil:
    """How many messages the packet has, bundles within bundles included, or a Fault: elements that do not fit are
    noticed before anything is done. What a message says is not looked at."""
    cdef size_t at = BUNDLE_HEADER
    cdef uint32_t element
    cdef int count = 0
    cdef int found
    if not is_bundle(p, size):
        return 1
    if size < BUNDLE_HEADER:
        return TRUNCATED
    if nesting == MAX_BUNDLE_NESTING:
        return TOO_DEEP
    while at < size:
        if size - at < 4:
            return BAD_ELEMENT
        element = get32(p + at)
        at += 4
        if element == 0 and at == size:
            break                           # as some writers end a bundle
        if element > size - at or element == 0:
            return BAD_ELEMENT
        found = check_packet(p + at, element, nesting + 1)
        if found < 0:
            return found
        count += found
        at += element
    return count


cdef bytes with_slash(const uint8_t* p, size_t size):
    """The message with the slash that its address lacks, as an X32 answers `/node` and Max sends what is typed into it;
    None for what is no message even then. Type tags have to follow: text of any other kind is none."""
    cdef size_t at = 0
    cdef Py_ssize_t length, i
    if size == 0 or p[0] == c"/" or p[0] == c"#" or p[0] == c",":
        return None
    length = _string(p, size, &at)
    if length <= 0 or at >= size or p[at] != c",":
        return None
    for i in range(length):
        if p[i] <= 0x20 or p[i] == 0x7F:
            return None
    text = b"/" + PyBytes_FromStringAndSize(<const char*>p, length)
    return text.ljust((len(text) + 4) & ~3, b"\0") + PyBytes_FromStringAndSize(<const char*>p + at, size - at)


def decode_message(bytes packet not None):
    """One message: `(address, is a pattern, value type, value)`, the value as in wire.md 2.2. Raises OscError."""
    cdef uint8_t room[VALUE_ROOM]
    cdef OscMessage message
    cdef int fault = read_message(<const uint8_t*><char*>packet, len(packet), room, &message)
    if fault:
        raise OscError((<dict>FAULTS)[fault])
    return (PyBytes_FromStringAndSize(<const char*>message.address, message.address_size), message.is_pattern,
            message.value_type, PyBytes_FromStringAndSize(<const char*>message.value, message.value_size))


def count_messages(bytes packet not None):
    """How many messages a packet holds. Raises OscError where the elements of a bundle do not fit."""
    cdef int found = check_packet(<const uint8_t*><char*>packet, len(packet), 0)
    if found < 0:
        raise OscError((<dict>FAULTS)[found])
    return found
