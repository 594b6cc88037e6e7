from cpython.ref cimport PyObject
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.stddef cimport size_t

from clasp_edge.dataplane.outbox cimport Outbox
from clasp_edge.devices.mqtt.context cimport MqttContext
from clasp_edge.devices.mqtt.publish_packet cimport Content, Stored

cdef enum:
    PACKET_IDS = 65535
    # Between the oldest message in flight and the newest: who acknowledges all but one for so long gets no more.
    LONGEST_SPAN = 16384
    ITEM_BYTES = 96             # what a waiting message is charged beside its own bytes
    ACKNOWLEDGEMENT_BYTES = 5


cdef enum State:                # of an outgoing message
    WAITING = 0
    AWAITS_PUBACK = 1
    AWAITS_PUBREC = 2
    AWAITS_PUBCOMP = 3
    DONE = 4


cdef struct Item:
    Stored* stored              # NULL: sent, and not to be sent again
    PyObject* extra             # owned: subscription identifiers, or NULL
    PyObject* group             # owned: the SharedGroup whose turn it was, or NULL
    uint64_t logged             # its number in the journal's log, 0 if it has none
    uint8_t state
    uint8_t qos
    uint8_t retain


cdef class MqttQueue(Outbox):
    cdef readonly MqttContext context
    cdef public int version
    cdef public bint websocket
    cdef public bint keeps              # the session outlives its connection
    cdef public bint following          # what is logged is not taken from deliveries: it is read from the log
    cdef bint noted                     # the store will hear of it
    cdef public uint64_t seen_to        # log record up to which all that it wants has been queued, or more
    cdef bint started                   # CONNACK is out
    cdef public size_t peer_max_packet
    cdef public uint32_t window         # messages in flight at most
    cdef Item* items
    cdef size_t room                    # of items, a power of two
    cdef uint64_t begin                 # counters that only grow: the first in flight, the first waiting, the end
    cdef uint64_t sending
    cdef uint64_t end
    cdef readonly uint32_t in_flight
    cdef readonly size_t waiting_bytes

    cdef bint answer(self, const uint8_t* packet, size_t size) noexcept
    cdef void settle(self, int type, uint16_t packet_id, int reason) noexcept
    cdef size_t acknowledgement(self, uint8_t* packet, int first, uint16_t packet_id, int reason) noexcept
    cdef void _answer_id(self, int first, uint16_t packet_id, int reason) noexcept
    cdef bint _ready(self) noexcept
    cdef Item* _new_item(self, int qos, bint retain, PyObject* extra) noexcept
    cdef bint _has_room(self, size_t size) noexcept
    cdef void _count(self, size_t size) noexcept
    cdef bint _queue(self, Stored* stored, int qos, bint retain, PyObject* extra, uint64_t logged) noexcept
    cdef void note(self, bint urgent) noexcept
    cdef bint _hold(self, const uint8_t* data, size_t size) noexcept
    cdef void _answer_stored(self, int first, uint16_t packet_id, int reason) noexcept
    cdef int _send_item(self) noexcept
    cdef size_t _spare_image(self, const Content* content, int flags, uint16_t packet_id, PyObject* extra) noexcept
    cdef bint _send_spare(self, size_t size, int qos) noexcept
    cdef void _release(self, Item* item) noexcept
    cdef void _trim(self) noexcept
    cdef void _pump(self, size_t limit) noexcept
