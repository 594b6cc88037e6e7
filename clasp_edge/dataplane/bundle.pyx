"""A BUNDLE's messages: split, and tried out without effect, so that all of them or none are carried out (router.md 6).

One frame can hold eight thousand of them, and nothing else may run between the check and the deed: so that this is the
data plane's business. What is refused is told by its place; why, and in what words, the control plane finds out.
"""

from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memset

from clasp_edge.dataplane.bytes cimport get16
from clasp_edge.dataplane.cursor cimport Cursor, cursor_over, read16, read64, take
from clasp_edge.dataplane.messages cimport PUBLISH, SET, Published, Write, read_publish, read_set
from clasp_edge.dataplane.plane cimport Plane
from clasp_edge.dataplane.sink cimport Sink
from clasp_edge.dataplane.state cimport SNAPSHOT_OVERHEAD
from clasp_edge.dataplane.strategy cimport improves
from clasp_edge.dataplane.table cimport STRATEGY_LWW, STRATEGY_MERGE, Entry, Value
from clasp_edge.dataplane.verdict cimport ACCEPTED, BAD_ADDRESS, NO_SCOPE, STRATEGY_REJECTED, TOO_LARGE

cdef enum:
    BUNDLE = 0x30
    MAX_PAYLOAD = 65535
    PARAM_BYTES = 256           # what a new param takes beside address and value, generously
    LOCK = 0x40
    UNLOCK = 0x20
    MERGED_BYTES = 524288       # of maps that one bundle may have merged: a few milliseconds at most

UNREADABLE = -1
TOO_MUCH = -2


cdef class _Param:
    """A param as the messages looked at so far would leave it."""

    cdef uint64_t revision
    cdef uint32_t holder
    cdef int strategy
    cdef int value_type
    cdef size_t size
    cdef bytes value            # only where the strategy compares it
    cdef bint is_new


def split(bytes payload not None):
    """`(timestamp in microseconds or None, payloads of the messages in order)` of a plain BUNDLE; None where there is a
    bundle within it, or anything wrong, which is the business of `wire.split_bundle`."""
    cdef Cursor cursor = cursor_over(<const uint8_t*><char*>payload, len(payload))
    cdef const uint8_t* head = take(&cursor, 4)
    cdef const uint8_t* message
    cdef uint64_t stamp = 0
    cdef uint16_t size = 0
    cdef unsigned count
    cdef list found = []
    if head == NULL or head[0] != BUNDLE:
        return None
    if head[1] & 0x80 and not read64(&cursor, &stamp):
        return None
    count = get16(head + 2)
    while count:
        count -= 1
        if not read16(&cursor, &size):
            return None
        message = take(&cursor, size)
        if message == NULL or size == 0 or not (message[0] == SET or message[0] == PUBLISH):
            return None
        found.append(PyBytes_FromStringAndSize(<const char*>message, size))
    return (stamp if head[1] & 0x80 else None), found


def dry_run(Plane plane not None, Sink origin not None, list payloads not None):
    """Try SETs and PUBLISHes (their payloads) in order, as `origin` would write them.

    Returns `(place, verdict, revision, expected, new params, bytes)`: the place of the first that would be refused, or
    -1, and its verdict (`plane.Verdict`, UNREADABLE, or TOO_MUCH for more maps to merge than one bundle may bring);
    and what the bundle would add to the state, as if nothing were overwritten.
    """
    cdef Write write
    cdef Published message
    cdef Entry* entry
    cdef _Param param
    cdef bytes payload, address
    cdef const uint8_t* data
    cdef size_t merging = 0
    cdef size_t total = 0
    cdef int verdict
    cdef Value known
    cdef Py_ssize_t place
    cdef Py_ssize_t added = 0
    cdef dict params = {}
    memset(&write, 0, sizeof(Write))    # a PUBLISH fills in no more than its address
    for place in range(len(payloads)):
        payload = payloads[place]
        data = <const uint8_t*><char*>payload
        if len(payload) and data[0] == PUBLISH:
            if read_publish(data, len(payload), &message):
                return place, UNREADABLE, 0, 0, 0, 0
            write.address = message.address
            write.address_size = message.address_size
        elif not len(payload) or data[0] != SET or read_set(data, len(payload), &write):
            return place, UNREADABLE, 0, 0, 0, 0
        entry = plane.live(write.address, write.address_size, plane.table.hash_of(write.address, write.address_size))
        address = PyBytes_FromStringAndSize(<const char*>write.address, write.address_size)
        param = params.get(address)
        strategy = None
        if entry == NULL and param is None:
            try:
                strategy = plane.control.classify(address)[1]
            except ValueError:
                return place, BAD_ADDRESS, 0, 0, 0, 0
        if not plane._gate(origin, write.address, write.address_size, entry):
            return place, NO_SCOPE, 0, 0, 0, 0
        if data[0] == PUBLISH:
            continue
        if param is None:
            param = _Param()
            params[address] = param
            if entry != NULL:
                param.strategy = entry.strategy
                param.is_new = entry.revision == 0
                if entry.revision:
                    param.revision = entry.revision
                    param.holder = entry.lock_holder
                    known = plane.table.value(entry)
                    param.value_type = known.type
                    param.size = known.size
                    if param.strategy != STRATEGY_LWW:
                        param.value = PyBytes_FromStringAndSize(<const char*>known.data, known.size)
            else:
                param.strategy = strategy
                param.is_new = True
            added += param.is_new
            total += PARAM_BYTES + write.address_size
        else:
            total -= param.size
        if write.address_size + write.value_size + SNAPSHOT_OVERHEAD > MAX_PAYLOAD:
            return place, TOO_LARGE, param.revision, write.expected, 0, 0
        verdict = plane._judge(param.revision, param.holder, origin, write.flags, write.expected)
        if verdict != ACCEPTED:
            return place, verdict, param.revision, write.expected, 0, 0
        value_type = write.flags & 0x0F
        param.size = write.value_size
        if param.strategy != STRATEGY_LWW:
            value = PyBytes_FromStringAndSize(<const char*>write.value, write.value_size)
            if param.revision and not improves(param.strategy, param.value_type, <const uint8_t*><char*>param.value,
                                               value_type, write.value):
                return place, STRATEGY_REJECTED, param.revision, write.expected, 0, 0
            if param.strategy == STRATEGY_MERGE and param.revision:
                merging += len(param.value) + len(value)
                if merging > MERGED_BYTES:
                    return place, TOO_MUCH, 0, 0, 0, 0
                value_type, value = plane.control.merge(param.value_type, param.value, value_type, value)
                if write.address_size + len(value) + SNAPSHOT_OVERHEAD > MAX_PAYLOAD:
                    return place, TOO_LARGE, param.revision, write.expected, 0, 0
                param.size = len(value)
            param.value = value
        param.value_type = value_type
        param.revision += 1
        total += param.size
        if write.flags & UNLOCK:
            param.holder = 0
        if write.flags & LOCK and not param.holder:
            param.holder = origin.writer
    return -1, ACCEPTED, 0, 0, added, total
