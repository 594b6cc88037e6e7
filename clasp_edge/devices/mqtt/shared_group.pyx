"""The sessions behind one shared subscription: each message goes to one of them (5.0, 4.8.2).

Compiled half of `devices.mqtt.shared`.
"""

import logging

from cpython.bytes cimport PyBytes_FromStringAndSize
from cpython.ref cimport PyObject
from libc.stdint cimport uint32_t

from clasp_edge.dataplane.sink cimport Delivery
from clasp_edge.dataplane.trie cimport OPTION_QOS, OPTION_SHARED
from clasp_edge.devices.mqtt.sender cimport MqttSender

log = logging.getLogger("clasp_edge.dataplane")


cdef tuple _next(list members, Py_ssize_t turn, bytes address):
    """Whose turn it is, of those whose token allows to read there; as in `deliver`, nobody else gets it. Those of
    one token have their scopes together, and are asked once."""
    cdef Py_ssize_t i, count = len(members)
    cdef MqttSender session
    cdef tuple member
    refused = None
    for i in range(count):
        member = <tuple>members[(turn + i) % count]
        session = <MqttSender>member[0]
        if session.scopes is None:
            return member
        if refused is None:
            refused = set()
        elif id(session.scopes) in refused:
            continue
        if session.scopes.allows("read", address):
            return member
        refused.add(id(session.scopes))
    return None


cdef class SharedGroup(Sink):
    """The sessions behind one shared subscription: each message goes to one of them, in turn, to one that is connected
    if there is one (5.0, 4.8.2)."""

    def __cinit__(self, MqttContext context not None):
        self.context = context
        self.native = self.takes_raw = True
        self.members = []

    def join(self, MqttSender session not None, uint32_t options, bytes identifiers):
        """Add a session, or change how it takes part."""
        self.leave(session)
        self.members.append((session, options | OPTION_SHARED, identifiers))

    def leave(self, MqttSender session not None):
        """Take a session out; returns how many are left."""
        self.members = [member for member in self.members if member[0] is not session]
        return len(self.members)

    cdef void deliver(self, Delivery* delivery) noexcept:
        cdef MqttSender session
        cdef MqttSender chosen = None
        cdef Py_ssize_t i, place = 0, count = len(self.members)
        cdef tuple member
        try:
            for i in range(count):
                member = <tuple>self.members[(self.turn + i) % count]
                session = <MqttSender>member[0]
                if session.dead and not session.keeps:
                    continue                    # it is over, and about to leave
                if session.scopes is not None and not session.scopes.allows(
                        "read", PyBytes_FromStringAndSize(<const char*>delivery.address, delivery.address_size)):
                    continue
                if chosen is None or (chosen.dead and not session.dead):
                    chosen = session
                    delivery.options = <uint32_t>member[1]
                    delivery.extra = NULL if member[2] is None else <PyObject*>member[2]
                    place = (self.turn + i + 1) % count
                    if not session.dead and not session.pressed:
                        break
            if chosen is not None:
                self.turn = place
                self.context.shared = self
                chosen.deliver(delivery)
                self.context.shared = None
        except Exception:
            self.context.shared = None
            log.exception("a shared message could not be delivered")

    def give(self, list messages not None):
        """Divide messages that a member had and that is gone (5.0, 4.8.2) among the others; they are those that
        `MqttQueue.take_shared` returns."""
        cdef MqttSender session
        cdef uint32_t options
        cdef tuple member
        # Once, not for each message: both are as many as clients want.
        here = [member for member in self.members if not (<MqttSender>member[0]).dead]
        away = [member for member in self.members if (<MqttSender>member[0]).dead]
        for topic, payload, properties, expiry_s, qos, retain in messages:
            if not self.members:
                return
            address = self.context.address_of(topic)
            member = _next(here, self.turn, address)
            if member is None:
                member = _next(away, self.turn, address)
            if member is None:
                self.context.dropped += 1
                continue
            self.turn += 1
            session = <MqttSender>member[0]
            options = <uint32_t>member[1]
            if min(qos, options & OPTION_QOS) == 0:
                session.offer(topic, payload, 0, retain, member[2], properties, expiry_s)
            elif not session.refill_shared(self, topic, payload, properties, expiry_s,
                                           min(qos, options & OPTION_QOS), retain, member[2]):
                self.context.dropped += 1
