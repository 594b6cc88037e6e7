"""What a clasp-edge hub says, frame by frame: the two messages of live traffic are acted upon here, others handed on.

The compiled part of `hub_session.HubSession`, whose names it uses. Knows no sockets.
"""

from libc.stdint cimport int64_t, uint8_t, uint64_t
from posix.time cimport CLOCK_MONOTONIC, clock_gettime, timespec

from clasp_edge.dataplane.messages cimport PUBLISH, Published, read_publish
from clasp_edge.dataplane.scan cimport utf8_valid
from clasp_edge.dataplane.verdict cimport ACCEPTED, OUTDATED
from clasp_edge.dataplane.write_run cimport WriteRun, content_at
from clasp_edge.federation.shared.waiting_frames import PAST
from clasp_edge.wire import decode_payload

cdef bytes _PAST = PAST

cdef enum:
    TIMESTAMPED = 0x20      # in a frame's flags
    HEADER = 4
    STAMP = 8


cdef int64_t _now_ns() noexcept nogil:
    cdef timespec now
    clock_gettime(CLOCK_MONOTONIC, &now)
    return now.tv_sec * <int64_t>1_000_000_000 + now.tv_nsec


def hand_out(session, list frames not None, dict handlers not None, int64_t for_ns):
    """Whole frames, in order, to the handlers by their messages' types, for as long as the session lasts, and for
    `for_ns` nanoseconds. Returns how many were dealt with. Raises what they raise."""
    cdef bytes frame, payload
    cdef const uint8_t* data
    cdef Py_ssize_t start, done = 0
    cdef int64_t until_ns = _now_ns() + for_ns
    for frame in frames:
        done += 1
        data = <const uint8_t*><char*>frame
        start = HEADER + (STAMP if data[1] & TIMESTAMPED else 0)
        if len(frame) <= start:
            continue
        handler = handlers.get(data[start])
        if handler is not None and not session._ended:
            payload = frame[start:]
            handler(payload)
            if _now_ns() >= until_ns:
                break
    return done


def take_version_set(session, bytes payload not None):
    """A SET with a version."""
    sender = session.owner.sender
    cdef WriteRun run = session._arrival.run
    cdef uint64_t number = session._number
    cdef bint accepted = False
    cdef bint repeated = run.repeats(content_at(<const uint8_t*><char*>payload, len(payload)))
    sender.number = number
    if number:
        session._number = number + 1
    try:
        if repeated and payload.endswith(_PAST):
            accepted = True
        else:
            accepted = _merge(session, sender, payload, repeated or number == 0)
    finally:
        _done(run, sender, accepted)


cdef int _done(WriteRun run, sender, bint accepted) except -1:
    """With one message of the run, and with what was announced for it alone."""
    run.accepted = accepted
    run.next()
    details = sender.details
    if details is not None:
        details.done()
    return 0


cdef bint _merge(session, sender, bytes payload, bint quiet) except -1:
    cdef tuple found
    sync = session._state_sync
    if sync.active and sync.overrules(payload):
        return True
    found = sender.merge(payload, quiet)
    verdict = found[0]
    if not sync.comparing and (verdict == ACCEPTED or verdict == OUTDATED):
        return True
    return session._merged(*found, quiet=quiet)


def take_publish(session, bytes payload not None):
    """A PUBLISH. Nobody here is handed what cannot be read."""
    cdef const uint8_t* data = <const uint8_t*><char*>payload
    cdef Published message
    cdef WriteRun run = session._arrival.run
    cdef uint64_t number = session._number
    cdef bint accepted = False
    sender = session.owner.sender
    sender.number = number
    if number:
        session._number = number + 1
    try:
        if run.repeats(content_at(data, len(payload))):
            accepted = True
        else:
            if (len(payload) == 0 or data[0] != PUBLISH or read_publish(data, len(payload), &message) != 0
                    or not utf8_valid(message.address, message.address_size)):
                decode_payload(payload)         # says what is wrong with it
                raise ValueError("a PUBLISH that cannot be read")
            address = payload[4:4 + <Py_ssize_t>message.address_size]
            verdict = sender.publish_told(payload, address)
            accepted = verdict == ACCEPTED
            if not accepted:
                session._judge(address, verdict)
    finally:
        _done(run, sender, accepted)
