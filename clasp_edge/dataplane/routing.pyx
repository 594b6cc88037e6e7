"""Where a message may go and to whom: the entry of its address, the gate before it, the fan-out list behind it.

The fan-out list and what the gate last allowed are remembered in the entry, so that a message costs one look-up. What
is rare, a new address or a scope, is asked of Python.
"""

import logging

from cpython.bytes cimport PyBytes_FromStringAndSize
from cpython.ref cimport Py_INCREF, Py_XDECREF, PyObject
from libc.stdlib cimport free, malloc

from clasp_edge.dataplane.account cimport Accounts
from clasp_edge.dataplane.messages cimport SIGNAL_PARAM
from clasp_edge.dataplane.payload cimport put_event
from clasp_edge.dataplane.reserved cimport is_reserved
from clasp_edge.dataplane.sink cimport BOUNDED, HEADROOM, begin_delivery
from clasp_edge.dataplane.state cimport State, version_hash
from clasp_edge.dataplane.table cimport FIRST_ID, LIST_ROUTES, entry_address
from clasp_edge.dataplane.trie cimport Target
from clasp_edge.dataplane.verdict cimport AT_CAPACITY, BAD_ADDRESS

log = logging.getLogger("clasp_edge.dataplane")

cdef enum:
    MAX_ROUTES = 65536          # addresses that are only published to; a remote party can grow this table
    MAX_ROUTE_BYTES = 1 << 23   # of their addresses
    MAX_FAN_BYTES = 1 << 23     # of fan-out lists: above that, those that are not worth it are forgotten
    WORTH_BYTES = 64            # of a list, for each address that uses it
    THINNED_AT_ONCE = 1024      # entries, each time that a list is made


cdef class Routing(State):
    """The addresses of one router, and who is told of them.

    `scratch` has room for one frame behind HEADROOM: the frame under construction.
    """

    def __cinit__(self, *args):
        self.trie = Trie()
        self.refusal_text = ""
        self.scratch = <uint8_t*>malloc(HEADROOM + MAX_FRAME + 16)
        if self.scratch == NULL:
            raise MemoryError

    def __dealloc__(self):
        free(self.scratch)

    def share_total(self, Accounts accounts not None):
        """Have what the state takes counted to the total of the accounts (`Accounts.give_params`)."""
        # Their owners too, by a tuple that no collection of garbage empties: the addresses below are of these.
        accounts.state = (self, self.table, self.trie)
        accounts.params_bytes = &self.table.bytes
        accounts.params = &self.table.params
        accounts.route_bytes = &self.table.route_bytes
        accounts.routes = &self.table.routes
        accounts.fan_bytes = &self.trie.fan_bytes
        accounts.params_limit = &self.max_bytes

    # ---- what can be made again is let go of when it is quiet ----

    def forget_routes(self, uint32_t keep, uint32_t at_once):
        """Forget addresses that are only published to, those first that have been unused for longest, down to `keep` of
        them and at most `at_once`. Whether there are more."""
        cdef uint32_t _forgotten
        for _forgotten in range(at_once):
            if self.table.routes <= keep:
                return False
            self._forget(self.table.entries[self.table.newer[LIST_ROUTES]])
        return self.table.routes > keep

    def forget_outdated_lists(self, uint32_t begin, uint32_t at_once):
        """Let go of the fan-out lists that are not what subscriptions are now, of `at_once` entries from number `begin`
        on (0 at first). Returns where to go on, 0 at the end."""
        cdef Entry* entry
        cdef uint32_t id
        for id in range(max(begin, <uint32_t>FIRST_ID), self.table.top):
            if at_once == 0:
                return id
            at_once -= 1
            entry = self.table.entries[id]
            if entry != NULL and entry.fan != NULL and entry.fan_generation != self.trie.generation:
                Py_XDECREF(<PyObject*>entry.fan)
                entry.fan = NULL
                entry.fan_generation = 0
        self.trie.prune()
        return 0

    def gate_changed(self):
        """Forget what the gate has remembered about who may write where."""
        self.gate_generation += 1

    def scopes_changed(self):
        """Forget what the gate has remembered about who may write where, and who gets what."""
        self.gate_generation += 1
        self.trie.invalidate()

    cdef Entry* _route(self, const uint8_t* address, size_t size, uint32_t hash, int* verdict) noexcept:
        """A new entry for an address seen for the first time, or NULL with the verdict."""
        cdef Entry* entry
        try:
            text = PyBytes_FromStringAndSize(<const char*>address, size)
            route, strategy = self.control.classify(text)
            while self.table.routes and (self.table.routes >= MAX_ROUTES
                                         or self.table.route_bytes + size > MAX_ROUTE_BYTES):
                self._forget(self.table.entries[self.table.newer[LIST_ROUTES]])
            entry = self.table.insert(address, size, hash)
            entry.route = route
            entry.strategy = strategy
            return entry
        except ValueError as error:
            self.refusal_text = str(error)
            verdict[0] = BAD_ADDRESS
        except MemoryError:
            verdict[0] = AT_CAPACITY
        except Exception:
            log.exception("an address could not be classified")
            self.refusal_text = "internal error"
            verdict[0] = BAD_ADDRESS
        return NULL

    # ---- the gate: every write, whatever its origin ----

    cdef bint _gate(self, Sink origin, const uint8_t* address, size_t size, Entry* entry) noexcept:
        """Whether `origin` may write here. What a token allows is remembered per address for its last writer."""
        # No token, and no router without tokens, lets anybody else tell how the router is.
        if not origin.reserved and is_reserved(address, size):
            return False
        if origin.scopes is None:
            return True
        if entry != NULL and entry.gate_writer == origin.writer and entry.gate_generation == self.gate_generation:
            return True
        try:
            if not origin.scopes.allows("write", PyBytes_FromStringAndSize(<const char*>address, size)):
                return False
        except Exception:
            log.exception("a scope could not be checked; refused")
            return False
        if entry != NULL and origin.writer:
            entry.gate_writer = origin.writer
            entry.gate_generation = self.gate_generation
        return True

    # ---- fan-out ----

    cdef Fanout fan(self, Entry* entry):
        """The entry's fan-out list, rebuilt if subscriptions have changed since it was cached."""
        cdef Fanout fan
        cdef bytes address
        if entry.fan_generation == self.trie.generation:
            return <Fanout>entry.fan
        self.core.heavy = True
        address = PyBytes_FromStringAndSize(<const char*>entry_address(entry), entry.address_size)
        if entry.fan != NULL and self.trie.holds(address, entry.fan_generation):
            entry.fan_generation = self.trie.generation
            return <Fanout>entry.fan
        fan = self.trie.fan_out(address)
        Py_INCREF(fan)
        Py_XDECREF(<PyObject*>entry.fan)
        entry.fan = <void*>fan
        entry.fan_generation = self.trie.generation
        if self.trie.fan_bytes > MAX_FAN_BYTES:
            self._thin()
        return fan

    cdef void _thin(self) noexcept:
        """There are too many fan-out lists, as when every address has another large audience: forget those that are
        used by few addresses for their size, some entries at a time. They are made again when they are needed."""
        cdef Entry* entry
        cdef Fanout fan
        cdef int _looked
        for _looked in range(THINNED_AT_ONCE):
            self.thinned += 1
            if self.thinned >= self.table.top:
                self.thinned = FIRST_ID
                self.trie.prune()               # also those of addresses that are no more
                break
            entry = self.table.entries[self.thinned]
            if entry == NULL or entry.fan == NULL:
                continue
            # The entry's own reference is one of them, the trie's another.
            if (<Fanout>entry.fan).size > WORTH_BYTES * ((<PyObject*>entry.fan).ob_refcnt - 1):
                fan = <Fanout>entry.fan
                Py_XDECREF(<PyObject*>entry.fan)
                entry.fan = NULL
                entry.fan_generation = 0
                self.trie.let_go(fan)

    cdef void _fan_out(self, Entry* entry, Sink excluded, int bit, Delivery* delivery) noexcept:
        """Deliver to the subscriptions whose mask has `bit`."""
        cdef Fanout fan
        cdef Target* target
        cdef Py_ssize_t i
        cdef list filters = None
        cdef list _alive
        # Sending may run a snapshot, and that may remove the entry if its time is over.
        cdef Py_ssize_t address_size = entry.address_size
        self.serial += 1
        delivery.serial = self.serial
        if entry.fan_generation == self.trie.generation:
            fan = <Fanout>entry.fan
        else:
            fan = self._fan_anew(entry)
            if fan is None:
                return
        _alive = fan.filters            # whatever happens to the list meanwhile
        for i in range(fan.count):
            target = &fan.targets[i]
            if target.sink == <PyObject*>excluded:
                continue
            if delivery.frame == NULL and not target.native and not self._frame(delivery):
                continue
            if target.plain & bit:
                self.deliveries += 1
                delivery.options = target.options
                delivery.extra = target.extra
                (<Sink>target.sink).deliver(delivery)
            elif target.filtered & bit:
                filters = self._filtered(filters, target)
        if filters is not None:
            self._offer(filters, delivery, address_size)

    # What follows may raise, which a function has to provide for with every call: so it stands by itself.

    cdef Fanout _fan_anew(self, Entry* entry):
        try:
            return self.fan(entry)
        except Exception:
            log.exception("a message could not be delivered")
            return None

    cdef list _filtered(self, list filters, Target* target):
        try:
            if filters is None:
                filters = []
            filters.append(<object>target.filter)
        except MemoryError:
            log.exception("a message could not be delivered to everyone")
        return filters

    cdef void _offer(self, list filters, Delivery* delivery, Py_ssize_t address_size) noexcept:
        """Python, and it may call back into the plane: only after the loop over the borrowed list."""
        self.core.heavy = True
        address = PyBytes_FromStringAndSize(<const char*>delivery.frame + 8, address_size)
        frame = PyBytes_FromStringAndSize(<const char*>delivery.frame, delivery.size)
        for item in filters:
            try:
                item.offer(address, delivery.signal, frame)
            except Exception:
                log.exception("a message could not be delivered to everyone")

    cdef bint _frame(self, Delivery* delivery) noexcept:
        """Make the CLASP frame of an event that came by MQTT. False when there is none for it."""
        cdef size_t size
        if delivery.raw == NULL or delivery.gone or delivery.signal == SIGNAL_PARAM:
            return False
        size = put_event(self.scratch + HEADROOM, MAX_PAYLOAD + 4, delivery.address, delivery.address_size,
                         delivery.raw.payload, delivery.raw.payload_size)
        if size == 0:
            return False
        delivery.frame = self.scratch + HEADROOM
        delivery.size = size
        return True

    cdef void tell_links(self, Entry* entry, uint64_t delta, Sink origin, bint tell) noexcept:
        cdef Delivery delivery
        cdef Fanout fan
        cdef Py_ssize_t i
        if self.links == 0:
            return
        begin_delivery(&delivery, origin, SIGNAL_PARAM, BOUNDED)
        delivery.address = entry_address(entry)
        delivery.address_size = entry.address_size
        delivery.gone = entry.revision == 0
        delivery.quiet = True
        delivery.tell = tell
        delivery.hlc = entry.hlc
        delivery.rank = entry.rank
        delivery.delta = delta
        delivery.entry_id = entry.id
        delivery.bucket = entry.bucket
        try:
            fan = self.fan(entry)
            for i in range(fan.count):
                if (<Sink>fan.targets[i].sink).is_link and (fan.targets[i].plain | fan.targets[i].filtered) & 1:
                    (<Sink>fan.targets[i].sink).deliver(&delivery)
        except Exception:
            log.exception("other routers could not be told of a version")

    cdef void _forget(self, Entry* entry) noexcept:
        if self.links and entry.hlc:
            self.tell_links(entry, version_hash(entry.hlc, entry.rank), None, False)
        State._forget(self, entry)
