"""MQTT payloads and CLASP values: what bytes without a type mean, and what a value looks like as such (router.md 9.2).

JSON first, then numbers as people write them, then text; what is not UTF-8 is bytes. Numbers, words, plain text and
most JSON (`json_value`) are settled here, everything else by the two functions that `use_converters` was given, with
the same results. Knows no packet and no address.
"""

import logging

from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdint cimport uint32_t, uint64_t
from libc.stdio cimport snprintf
from libc.string cimport memcmp, memcpy, strchr, strlen

from clasp_edge.dataplane.bytes cimport get16, get32, get64, put16, put32, put64
from clasp_edge.dataplane.entry cimport value_room
from clasp_edge.dataplane.json_value cimport JSON_NONE, JSON_TOO_LARGE, json_value
from clasp_edge.dataplane.scan cimport utf8_valid, value_size
from clasp_edge.dataplane.value_types cimport (
    T_BOOL,
    T_BYTES,
    T_F32,
    T_F64,
    T_I8,
    T_I16,
    T_I32,
    T_I64,
    T_NULL,
    T_STRING,
)

cdef extern from "Python.h":
    double PyOS_string_to_double(const char* text, char** end, object overflow) except? -1.0
    char* PyOS_double_to_string(double value, char format, int precision, int flags, int* type) except NULL
    void PyMem_Free(void* memory)

cdef enum:
    ADD_DOT_0 = 2               # Py_DTSF_ADD_DOT_0: a float shows that it is one

cdef extern from "<strings.h>" nogil:
    int strncasecmp(const char* a, const char* b, size_t size)

log = logging.getLogger("clasp_edge.dataplane")

cdef enum:
    LONGEST_NUMBER = 400        # characters; every double can be written with fewer
    MOST_DESCRIBED = 64         # bytes of the value that says how large a payload is

# What JSON or a number can begin with, as in devices/values.py. Any other text is only text.
cdef const char* NEVER_PLAIN = b'"{[-+.0123456789 \t\r\ntfnNiI'

cdef object _encoded_value_of = None
cdef object _payload_of = None


def use_converters(encoded_value_of, payload_of):
    """The slow ways: `encoded_value_of(payload) -> (type, data)`, raising ValueError for one too long, and
    `payload_of(type, data) -> payload`."""
    global _encoded_value_of, _payload_of
    _encoded_value_of = encoded_value_of
    _payload_of = payload_of


# ---- payload to value ----

cdef void type_payload(const uint8_t* payload, size_t size, uint8_t* target, size_t room, Typed* typed) noexcept:
    """Encode what the payload means at `target` (at least 16 bytes)."""
    cdef uint8_t c
    typed.exact = True
    if size == 0:
        _put_text(T_STRING, payload, size, target, room, typed)
        return
    c = payload[0]
    if c == b"{" or c == b"[" or c == b'"':
        typed.exact = False
        typed.size = json_value(payload, size, target, room, &typed.type)
        if typed.size == JSON_NONE:
            _put_text(T_STRING if utf8_valid(payload, size) else T_BYTES, payload, size, target, room, typed)
            typed.exact = False
        elif typed.size < 0 and typed.size != JSON_TOO_LARGE:
            _slowly(payload, size, target, room, typed)
        return
    if c <= 0x20 or payload[size - 1] <= 0x20:
        if not utf8_valid(payload, size):
            _put_text(T_BYTES, payload, size, target, room, typed)
        elif strchr(NEVER_PLAIN, c) == NULL:
            _put_text(T_STRING, payload, size, target, room, typed)
        else:
            _slowly(payload, size, target, room, typed)
        return
    if size <= LONGEST_NUMBER and (c <= 0x39 or c == b"i" or c == b"I" or c == b"n" or c == b"N"):
        if size == 2 and c == b"-" and payload[1] == b"0":
            _slowly(payload, size, target, room, typed)
            return
        if _number(payload, size, target, typed):
            return
    if size == 4 and memcmp(payload, b"true", 4) == 0:
        typed.type = T_BOOL
        typed.size = 1
        target[0] = 1
    elif size == 5 and memcmp(payload, b"false", 5) == 0:
        typed.type = T_BOOL
        typed.size = 1
        target[0] = 0
    elif size == 4 and memcmp(payload, b"null", 4) == 0:
        typed.type = T_NULL
        typed.size = 0
    else:
        _put_text(T_STRING if utf8_valid(payload, size) else T_BYTES, payload, size, target, room, typed)


cdef void fit_payload(const uint8_t* payload, size_t size, uint8_t* target, size_t room, Typed* typed) noexcept:
    """`type_payload`, but what takes more than `room` becomes text where that fits, else a map that says how large it
    is: `{"too_large": bytes}`. `typed.size` is -1 where not even that fits."""
    typed.size = -1
    if size <= 65535:
        type_payload(payload, size, target, room, typed)
        if typed.size >= 0 and <size_t>typed.size <= room:
            return
        if size + 2 <= room and utf8_valid(payload, size):
            _put_text(T_STRING, payload, size, target, room, typed)
            typed.exact = False
            return
    text = b'{"too_large": %d}' % size
    _slowly(<const uint8_t*><char*>text, len(text), target, room, typed)


cdef bint is_certain(const uint8_t* payload, size_t size, size_t room, bint* exact) noexcept nogil:
    """Whether it can be told without a look at the whole payload that `fit_payload` will make a value of it, and then
    whether that will be `exact`. False for whatever it cannot be told of, and what is not worth waiting with."""
    if not LONGEST_NUMBER < size <= 65535 or room < MOST_DESCRIBED:
        return False
    if payload[0] == b"{" or payload[0] == b"[" or payload[0] == b'"':
        exact[0] = False
        return True
    if payload[0] > 0x20 and payload[size - 1] > 0x20 and size + 2 <= room:
        exact[0] = True         # too long for a number or a word: text, or what is not UTF-8
        return True
    return False


cdef void _put_text(int type, const uint8_t* payload, size_t size, uint8_t* target, size_t room,
                    Typed* typed) noexcept:
    typed.type = type
    typed.exact = True
    if size > 65535 or size + 2 > room:
        typed.size = -1
        return
    put16(target, <unsigned short>size)
    memcpy(target + 2, payload, size)
    typed.size = 2 + <Py_ssize_t>size


cdef void _slowly(const uint8_t* payload, size_t size, uint8_t* target, size_t room, Typed* typed) noexcept:
    typed.exact = False
    typed.size = -1
    try:
        found = _encoded_value_of(PyBytes_FromStringAndSize(<const char*>payload, size))
        data = <bytes>found[1]
        if <size_t>len(data) <= room:
            typed.type = found[0]
            typed.size = len(data)
            memcpy(target, <char*>data, len(data))
    except ValueError:
        pass
    except Exception:
        log.exception("a payload could not be read")


# Of 2**63. As a literal in an expression it would be an object of Python's, compared for each digit.
cdef uint64_t MOST_TENS = 922337203685477580


cdef bint _number(const uint8_t* p, size_t size, uint8_t* target, Typed* typed) noexcept:
    """A number in JSON's grammar, or as Rust's float parser takes it; False if it is neither."""
    cdef size_t at = 0
    cdef size_t begin
    cdef bint negative = p[0] == b"-"
    cdef uint64_t magnitude = 0
    cdef bint fits = True
    cdef size_t digits
    cdef uint64_t bits
    cdef double number
    cdef char text[LONGEST_NUMBER + 1]
    if p[0] == b"-" or p[0] == b"+":
        at = 1
    begin = at
    while at < size and 0x30 <= p[at] <= 0x39:
        if magnitude > MOST_TENS or (magnitude == MOST_TENS and p[at] - 0x30 > 7 + <int>negative):
            fits = False
        magnitude = magnitude * 10 + (p[at] - 0x30)
        at += 1
    digits = at - begin
    if (at == size and digits and fits and p[0] != b"+" and (digits == 1 or p[begin] != b"0")
            and magnitude):
        put64(target, ~magnitude + 1 if negative else magnitude)
        typed.type = T_I64
        typed.size = 8
        return True
    if at == size and digits == 1 and p[0] == b"0":
        put64(target, 0)
        typed.type = T_I64
        typed.size = 8
        return True
    if digits == 0 and ((size - at == 3 and (strncasecmp(<const char*>p + at, "inf", 3) == 0
                                             or strncasecmp(<const char*>p + at, "nan", 3) == 0))
                        or (size - at == 8 and strncasecmp(<const char*>p + at, "infinity", 8) == 0)):
        at = size
    else:
        if at < size and p[at] == b".":
            at += 1
            begin = at
            while at < size and 0x30 <= p[at] <= 0x39:
                at += 1
            digits += at - begin
        if digits == 0:
            return False
        if at < size and (p[at] == b"e" or p[at] == b"E"):
            at += 1
            if at < size and (p[at] == b"+" or p[at] == b"-"):
                at += 1
            begin = at
            while at < size and 0x30 <= p[at] <= 0x39:
                at += 1
            if at == begin:
                return False
        if at != size:
            return False
    memcpy(text, p, size)
    text[size] = 0
    try:
        number = PyOS_string_to_double(text, NULL, None) if p[0] != b"+" else float(text[1:size])
    except Exception:
        try:
            number = float(text[:size])     # beyond the range: infinite
        except Exception:
            return False
    memcpy(&bits, &number, 8)
    put64(target, bits)
    typed.type = T_F64
    typed.size = 8
    typed.exact = False
    return True


cdef size_t put_event(uint8_t* frame, size_t room, const uint8_t* address, size_t address_size,
                      const uint8_t* payload, size_t size) noexcept:
    """The CLASP frame of an event with this payload; returns its size, 0 if it does not fit `room`. An empty payload
    says that something happened, and no more: there is no value."""
    cdef Typed typed
    cdef size_t at = 10 + address_size
    if at + 16 > room:
        return 0
    if size:
        fit_payload(payload, size, frame + at, min(room, <size_t>65539) - at, &typed)
        if typed.size < 0 or at - 4 + typed.size > 65535:
            return 0
        frame[8 + address_size] = 1
        frame[9 + address_size] = <uint8_t>typed.type
        at += <size_t>typed.size
    else:
        at -= 1
        frame[8 + address_size] = 0
    frame[0] = 0x53
    frame[1] = 0x41
    put16(frame + 2, <unsigned short>(at - 4))
    frame[4] = 0x20
    frame[5] = 0x20
    put16(frame + 6, <unsigned short>address_size)
    memcpy(frame + 8, address, address_size)
    return at


cdef size_t put_set(uint8_t* frame, const uint8_t* address, size_t address_size, const uint8_t* payload, size_t size,
                    int flags, uint64_t revision, uint32_t ttl) noexcept:
    """The CLASP frame that tells of a SET with this payload's value (`frame` has room for the largest one); returns
    its size, 0 if there is none. `flags`: of the SET, without the value's type; `ttl` only counts with 0x10."""
    cdef Typed typed
    cdef uint8_t* p = frame + 8 + address_size
    fit_payload(payload, size, p, value_room(address_size), &typed)
    if typed.size < 0:
        return 0
    p += typed.size
    put64(p, revision)
    p += 8
    if flags & 0x10:
        put32(p, ttl)
        p += 4
    frame[0] = 0x53
    frame[1] = 0x41
    put16(frame + 2, <unsigned short>(p - frame - 4))
    frame[4] = 0x21
    frame[5] = <uint8_t>(0x80 | flags | typed.type)
    put16(frame + 6, <unsigned short>address_size)
    memcpy(frame + 8, address, address_size)
    return <size_t>(p - frame)


def set_frame(bytes address not None, bytes payload not None, int flags, uint64_t revision, uint32_t ttl):
    """`put_set` as bytes, or None."""
    cdef uint8_t frame[65600]
    cdef size_t size = put_set(frame, <const uint8_t*><char*>address, len(address), <const uint8_t*><char*>payload,
                               len(payload), flags, revision, ttl)
    return PyBytes_FromStringAndSize(<char*>frame, size) if size else None


def event_frame(bytes address not None, bytes payload not None):
    """The CLASP frame of an event with this MQTT payload, or None if it does not fit one."""
    cdef uint8_t frame[65600]
    cdef size_t size = put_event(frame, 65539, <const uint8_t*><char*>address, len(address),
                                 <const uint8_t*><char*>payload, len(payload))
    return PyBytes_FromStringAndSize(<char*>frame, size) if size else None


def typed_payload(bytes payload not None):
    """`(value type, encoded value, whether printing it gives the payload back)`, for tests and cold paths."""
    cdef uint8_t target[65600]
    cdef Typed typed
    type_payload(<const uint8_t*><char*>payload, len(payload), target, 65600, &typed)
    if typed.size < 0:
        raise ValueError("the payload is too long for a value")
    return typed.type, PyBytes_FromStringAndSize(<char*>target, typed.size), typed.exact


# ---- value to payload ----

cdef bint _plain(const uint8_t* text, size_t size) noexcept nogil:
    """Whether the text cannot be taken for anything else: no JSON and no number begins like this."""
    cdef uint8_t c
    if size == 0:
        return True
    c = text[0]
    return not (c == b'"' or c == b"{" or c == b"[" or c == b"-" or c == b"+" or c == b"." or 0x30 <= c <= 0x39
                or c <= 0x20 or c == b"t" or c == b"f" or c == b"n" or c == b"N" or c == b"i" or c == b"I")


cdef Py_ssize_t print_value(int value_type, const uint8_t* value, size_t room, uint8_t* target, size_t target_room,
                            const uint8_t** text) noexcept:
    """The payload of a value: its size, or -1 if there is none that fits. `text` gets where it is: at `target` (at
    least 512 bytes) or, for strings and bytes, in the value itself."""
    cdef double number
    cdef float single
    cdef uint64_t bits
    cdef unsigned int half
    cdef Py_ssize_t size
    cdef char* printed
    text[0] = target
    if value_type == T_BYTES or (value_type == T_STRING and _plain(value + 2, get16(value))):
        text[0] = value + 2
        return get16(value)
    if value_type == T_I64:
        return snprintf(<char*>target, 32, "%lld", <long long>get64(value))
    if value_type == T_I32:
        return snprintf(<char*>target, 32, "%d", <int>get32(value))
    if value_type == T_I16:
        return snprintf(<char*>target, 32, "%d", <int><short>get16(value))
    if value_type == T_I8:
        return snprintf(<char*>target, 32, "%d", <int><signed char>value[0])
    if value_type == T_NULL:
        memcpy(target, b"null", 4)
        return 4
    if value_type == T_BOOL:
        memcpy(target, b"true" if value[0] else b"false", 5)
        return 4 if value[0] else 5
    try:
        if value_type == T_F64 or value_type == T_F32:
            if value_type == T_F64:
                bits = get64(value)
                memcpy(&number, &bits, 8)
            else:
                half = get32(value)
                memcpy(&single, &half, 4)
                number = single
            printed = PyOS_double_to_string(number, b"r", 0, ADD_DOT_0, NULL)
            size = strlen(printed)
            memcpy(target, printed, size)
            PyMem_Free(printed)
            return size
        size = value_size(value_type, value, room, 0)
        if size < 0:
            return -1
        whole = <bytes>_payload_of(value_type, PyBytes_FromStringAndSize(<const char*>value, size))
        if <size_t>len(whole) > target_room:
            return -1
        memcpy(target, <char*>whole, len(whole))
        return len(whole)
    except Exception:
        log.exception("a value could not be printed")
        return -1


def printed_value(int value_type, bytes value not None):
    """The payload of an encoded value, for tests and cold paths."""
    cdef uint8_t target[65600]
    cdef const uint8_t* text
    if value_size(value_type, <const uint8_t*><char*>value, len(value), 0) != len(value):
        raise ValueError("not an encoded value")
    if value_type > T_BYTES:
        return _payload_of(value_type, value)
    cdef Py_ssize_t size = print_value(value_type, <const uint8_t*><char*>value, len(value), target, 65600, &text)
    if size < 0:
        raise ValueError("the payload is too long")
    return PyBytes_FromStringAndSize(<const char*>text, size)
