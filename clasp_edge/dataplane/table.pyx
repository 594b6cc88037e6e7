"""Every address the router knows: params with their values, and cached routes of addresses that are only published to.

An open-addressing hash table finds an entry with one probe; compact arrays beside it keep the write order (for eviction
and for slow clients that catch up) and the expiry heap, so that an entry's own cache line is all a write touches of it.
Knows nothing of sessions or sockets; who owns `Entry.fan` releases it before `remove`.
"""

import os

from libc.stdlib cimport calloc, free, malloc, realloc
from libc.string cimport memcmp, memcpy, memset

from cpython.ref cimport Py_XDECREF, PyObject

from clasp_edge.dataplane.entry cimport LARGEST_VALUE, value_room
from clasp_edge.dataplane.payload cimport Typed, fit_payload

cdef enum:
    INITIAL_IDS = 1024
    INITIAL_SLOTS = 2048


cdef uint16_t bucket_of(const uint8_t* address, size_t size) noexcept nogil:
    """In which bucket of a digest an address is: FNV-1a, which needs no secret. Who crowds one bucket makes only that
    one longer to compare."""
    cdef uint64_t h = <uint64_t>0xCBF29CE484222325
    cdef size_t i
    for i in range(size):
        h = (h ^ address[i]) * <uint64_t>0x100000001B3
    return <uint16_t>((h ^ (h >> 32)) & (BUCKETS - 1))


cdef class Table:
    def __cinit__(self):
        self.slots = <Slot*>calloc(INITIAL_SLOTS, sizeof(Slot))
        if self.slots == NULL:
            raise MemoryError
        self.mask = INITIAL_SLOTS - 1
        self.index = AddressIndex()
        self.top = FIRST_ID
        self._grow_ids()
        self.older[LIST_PARAMS] = self.newer[LIST_PARAMS] = LIST_PARAMS
        self.older[LIST_ROUTES] = self.newer[LIST_ROUTES] = LIST_ROUTES
        self.older[LIST_GONE] = self.newer[LIST_GONE] = LIST_GONE
        # Secret, so that nobody can choose addresses that collide.
        self.seed = int.from_bytes(os.urandom(8), "little")
        self.key = int.from_bytes(os.urandom(8), "little") | 1

    def __dealloc__(self):
        cdef uint32_t id
        if self.entries != NULL:
            for id in range(FIRST_ID, self.top):
                if self.entries[id] != NULL:
                    Py_XDECREF(<PyObject*>self.entries[id].fan)
                    free(self.entries[id].kept)
                    free(self.entries[id])
        free(self.entries)
        free(self.older)
        free(self.newer)
        free(self.heap_position)
        free(self.heap)
        free(self.heap_key)
        free(self.slots)
        free(self.reading)

    # ---- the hash table ----

    cdef Entry* find(self, const uint8_t* address, size_t size, uint32_t hash) noexcept:
        cdef size_t place = hash & self.mask
        cdef Entry* entry
        while self.slots[place].id:
            if self.slots[place].hash == hash:
                entry = self.entries[self.slots[place].id]
                if entry.address_size == size and memcmp(entry_address(entry), address, size) == 0:
                    return entry
            place = (place + 1) & self.mask
        return NULL

    cdef Entry* insert(self, const uint8_t* address, size_t size, uint32_t hash) except NULL:
        """A new entry (a route, until `make_param`) for an address that `find` did not find."""
        cdef Entry* entry
        cdef uint32_t id
        cdef size_t place
        cdef uint32_t capacity = 8      # one number: what most params hold
        if (self.params + self.routes + self.gone + 1) * 2 > self.mask:
            self._grow_slots()
        if self.free_id == 0 and self.top == self.capacity:
            self._grow_ids()
        entry = <Entry*>calloc(1, sizeof(Entry) + size + capacity)
        if entry == NULL:
            raise MemoryError
        if self.free_id:
            id = self.free_id
            self.free_id = self.older[id]
        else:
            id = self.top
            self.top += 1
        entry.id = id
        entry.hash = hash
        entry.address_size = <uint16_t>size
        entry.capacity = capacity
        entry.ttl = TTL_DEFAULT
        entry.bucket = bucket_of(address, size)
        self.bytes += sizeof(Entry) + size + capacity
        memcpy(entry_address(entry), address, size)
        self.entries[id] = entry
        place = hash & self.mask
        while self.slots[place].id:
            place = (place + 1) & self.mask
        self.slots[place].hash = hash
        self.slots[place].id = id
        self.routes += 1
        self.route_bytes += size
        self._link(LIST_ROUTES, id)
        return entry

    cdef Entry* store(self, Entry* entry, int value_type, const uint8_t* value, uint32_t size) noexcept:
        """Put a value into the entry. The entry may move: use what is returned. NULL without memory."""
        cdef Entry* moved
        cdef uint32_t capacity
        # Shrink only from far above: a param that alternates between sizes must not reallocate each time.
        if size > entry.capacity or (entry.capacity > 256 and size < entry.capacity // 4):
            capacity = (size + 15) & ~<uint32_t>15
            moved = <Entry*>realloc(entry, sizeof(Entry) + entry.address_size + capacity)
            if moved == NULL:
                return NULL
            entry = moved
            self.bytes += capacity
            self.bytes -= entry.capacity
            entry.capacity = capacity
            self.entries[entry.id] = entry
        if self.read_id == entry.id:
            self.read_id = 0
        memcpy(stored_bytes(entry), value, size)
        entry.stored_size = size
        entry.stored_type = <uint8_t>value_type
        return entry

    cdef Entry* store_unread(self, Entry* entry, const Raw* raw) noexcept:
        """As `store`, of what the payload of a message means: as it came, once, also if it is kept as the retained
        message that it is."""
        if not raw.retain or raw.exact:
            return self.store(entry, UNREAD, raw.payload, <uint32_t>raw.payload_size)
        if not self.keep(entry, raw):
            return NULL
        return self.store(entry, UNREAD_KEPT, raw.payload, 0)

    cdef Value _read(self, Entry* entry) noexcept:
        """The value that a payload means; the same as if it had been made when it came."""
        cdef Typed typed
        cdef const uint8_t* payload = stored_bytes(entry)
        cdef size_t size = entry.stored_size
        if self.read_id == entry.id:
            return self.read
        self.read_id = 0
        self.read.type = 0
        self.read.size = 0
        if self.reading == NULL:
            self.reading = <uint8_t*>malloc(LARGEST_VALUE)
        self.read.data = self.reading
        if self.reading == NULL:
            return self.read        # null, without memory
        if entry.stored_type == UNREAD_KEPT:
            payload = &entry.kept.data[0] + entry.kept.properties_size
            size = entry.kept.payload_size
        fit_payload(payload, size, self.reading, value_room(entry.address_size), &typed)
        if typed.size >= 0:
            self.read.type = typed.type
            self.read.size = <uint32_t>typed.size
            self.read_id = entry.id
        return self.read

    cdef bint keep(self, Entry* entry, const Raw* raw) noexcept:
        """Keep an MQTT message's own bytes beside the value made of them. False without memory: nothing is kept."""
        cdef size_t size = raw.properties_size + raw.payload_size
        cdef Kept* kept = entry.kept
        cdef uint32_t old_capacity = kept.capacity if kept != NULL else 0
        if kept == NULL or size > kept.capacity or (kept.capacity > 256 and size < kept.capacity // 4):
            kept = <Kept*>realloc(kept, sizeof(Kept) + size)
            if kept == NULL:
                self.drop_kept(entry)
                return False
            if entry.kept != NULL:
                self.bytes -= old_capacity
            self.bytes += size
            entry.kept = kept
            kept.capacity = <uint32_t>size
        kept.properties_size = <uint32_t>raw.properties_size
        kept.payload_size = <uint32_t>raw.payload_size
        memcpy(&kept.data[0], raw.properties, raw.properties_size)
        memcpy(&kept.data[0] + raw.properties_size, raw.payload, raw.payload_size)
        return True

    cdef void drop_kept(self, Entry* entry) noexcept:
        if entry.kept != NULL:
            self.bytes -= entry.kept.capacity
        free(entry.kept)
        entry.kept = NULL
        if entry.stored_type == UNREAD_KEPT:
            entry.stored_type = 0       # null: there was no memory for what has become of the message

    cdef void remove(self, Entry* entry) noexcept:
        cdef size_t hole = entry.hash & self.mask
        cdef size_t place, home
        cdef uint32_t id = entry.id
        while self.slots[hole].id != id:
            hole = (hole + 1) & self.mask
        # Close the gap by moving back what probed past it (no tombstones: lookups never slow down with churn).
        place = hole
        while True:
            place = (place + 1) & self.mask
            if self.slots[place].id == 0:
                break
            home = self.slots[place].hash & self.mask
            if ((place - home) & self.mask) >= ((place - hole) & self.mask):
                self.slots[hole] = self.slots[place]
                hole = place
        self.slots[hole].id = 0
        if entry.revision:
            self.params -= 1
            self.index.remove(self.entries, entry)
        elif entry.hlc:
            self.gone -= 1
        else:
            self.routes -= 1
            self.route_bytes -= entry.address_size
        self._unlink(id)
        self._heap_drop(id)
        self.entries[id] = NULL
        self.older[id] = self.free_id
        self.free_id = id
        self.drop_kept(entry)
        self.mark_unretained(entry, False)
        self.bytes -= sizeof(Entry) + entry.address_size + entry.capacity
        free(entry)

    cdef int _grow_slots(self) except -1:
        cdef size_t size = (self.mask + 1) * 2
        cdef Slot* slots = <Slot*>calloc(size, sizeof(Slot))
        cdef size_t place, old
        if slots == NULL:
            raise MemoryError
        for old in range(self.mask + 1):
            if self.slots[old].id:
                place = self.slots[old].hash & (size - 1)
                while slots[place].id:
                    place = (place + 1) & (size - 1)
                slots[place] = self.slots[old]
        free(self.slots)
        self.slots = slots
        self.mask = size - 1
        return 0

    cdef int _grow_ids(self) except -1:
        cdef uint32_t size = self.capacity * 2 if self.capacity else INITIAL_IDS
        cdef Entry** entries = <Entry**>realloc(self.entries, size * sizeof(Entry*))
        if entries == NULL:
            raise MemoryError
        memset(entries + self.capacity, 0, (size - self.capacity) * sizeof(Entry*))
        self.entries = entries
        cdef uint32_t* array = <uint32_t*>realloc(self.older, size * sizeof(uint32_t))
        if array == NULL:
            raise MemoryError
        self.older = array
        array = <uint32_t*>realloc(self.newer, size * sizeof(uint32_t))
        if array == NULL:
            raise MemoryError
        self.newer = array
        array = <uint32_t*>realloc(self.heap_position, size * sizeof(uint32_t))
        if array == NULL:
            raise MemoryError
        memset(array + self.capacity, 0, (size - self.capacity) * sizeof(uint32_t))
        self.heap_position = array
        array = <uint32_t*>realloc(self.heap, (size + 1) * sizeof(uint32_t))
        if array == NULL:
            raise MemoryError
        self.heap = array
        cdef uint64_t* keys = <uint64_t*>realloc(self.heap_key, (size + 1) * sizeof(uint64_t))
        if keys == NULL:
            raise MemoryError
        self.heap_key = keys
        self.capacity = size
        return 0

    # ---- order of last write (params) and last use (routes) ----

    cdef void _link(self, uint32_t head, uint32_t id) noexcept:
        cdef uint32_t newest = self.older[head]
        self.older[id] = newest
        self.newer[id] = head
        self.newer[newest] = id
        self.older[head] = id

    cdef void _unlink(self, uint32_t id) noexcept:
        self.newer[self.older[id]] = self.newer[id]
        self.older[self.newer[id]] = self.older[id]

    cdef int make_param(self, Entry* entry) except -1:
        """Move a route entry, or a tombstone, over to the params."""
        self.index.insert(self.entries, entry)
        self._unlink(entry.id)
        self._link(LIST_PARAMS, entry.id)
        if entry.hlc:
            self.gone -= 1
        else:
            self.routes -= 1
            self.route_bytes -= entry.address_size
        self.params += 1
        return 0

    cdef Entry* make_gone(self, Entry* entry) noexcept:
        """Move a param, or a route, over to the tombstones; it gets its version afterwards. The entry may move."""
        self._unlink(entry.id)
        self._link(LIST_GONE, entry.id)
        if entry.revision:
            self.params -= 1
            self.index.remove(self.entries, entry)
        elif entry.hlc:
            self.gone -= 1
        else:
            self.routes -= 1
            self.route_bytes -= entry.address_size
        self.gone += 1
        entry.revision = 0
        entry.ttl = TTL_DEFAULT
        entry.journal &= ~JOURNAL_DIRTY
        self.expires(entry, 0)
        self.drop_kept(entry)
        self.mark_unretained(entry, False)
        cdef Entry* smaller = self.store(entry, 0, entry_address(entry), 0)
        if smaller == NULL:
            entry.stored_size = 0
            entry.stored_type = 0
            return entry
        return smaller

    cdef void touch(self, Entry* entry) noexcept:
        """Make the entry the newest of its list."""
        cdef uint32_t id = entry.id
        cdef uint32_t head = LIST_PARAMS if entry.revision else LIST_GONE if entry.hlc else LIST_ROUTES
        if self.older[head] != id:
            self._unlink(id)
            self._link(head, id)

    # ---- expiry: an indexed heap; its keys may lag behind the deadlines, so that prolonging costs nothing ----

    cdef void expires(self, Entry* entry, uint64_t deadline_ms) noexcept:
        """Set the entry's deadline (monotonic ms, 0 = never)."""
        cdef uint32_t place = self.heap_position[entry.id]
        entry.deadline_ms = deadline_ms
        if deadline_ms == 0:
            if place:
                self._heap_drop(entry.id)
        elif place == 0:
            self.heap_size += 1
            self.heap[self.heap_size] = entry.id
            self.heap_key[self.heap_size] = deadline_ms
            self.heap_position[entry.id] = self.heap_size
            self._sift_up(self.heap_size)
        elif deadline_ms < self.heap_key[place]:
            self.heap_key[place] = deadline_ms
            self._sift_up(place)

    cdef Entry* next_expired(self, uint64_t now_ms) noexcept:
        """An entry whose deadline has passed (it stays in the table), or NULL."""
        cdef Entry* entry
        while self.heap_size and self.heap_key[1] <= now_ms:
            entry = self.entries[self.heap[1]]
            if entry.deadline_ms <= now_ms:
                return entry
            self.heap_key[1] = entry.deadline_ms
            self._sift_down(1)
        return NULL

    cdef uint64_t next_deadline(self) noexcept:
        """When to look again (monotonic ms; not later than the first deadline), 0 = nothing will expire."""
        return self.heap_key[1] if self.heap_size else 0

    cdef void _sift_up(self, uint32_t place) noexcept:
        cdef uint32_t id = self.heap[place]
        cdef uint64_t key = self.heap_key[place]
        while place > 1 and key < self.heap_key[place >> 1]:
            self.heap[place] = self.heap[place >> 1]
            self.heap_key[place] = self.heap_key[place >> 1]
            self.heap_position[self.heap[place]] = place
            place >>= 1
        self.heap[place] = id
        self.heap_key[place] = key
        self.heap_position[id] = place

    cdef void _sift_down(self, uint32_t place) noexcept:
        cdef uint32_t id = self.heap[place]
        cdef uint64_t key = self.heap_key[place]
        cdef uint32_t child
        while place * 2 <= self.heap_size:
            child = place * 2
            if child < self.heap_size and self.heap_key[child + 1] < self.heap_key[child]:
                child += 1
            if key <= self.heap_key[child]:
                break
            self.heap[place] = self.heap[child]
            self.heap_key[place] = self.heap_key[child]
            self.heap_position[self.heap[place]] = place
            place = child
        self.heap[place] = id
        self.heap_key[place] = key
        self.heap_position[id] = place

    cdef void _heap_drop(self, uint32_t id) noexcept:
        cdef uint32_t place = self.heap_position[id]
        if place == 0:
            return
        self.heap_position[id] = 0
        if place != self.heap_size:
            self.heap[place] = self.heap[self.heap_size]
            self.heap_key[place] = self.heap_key[self.heap_size]
            self.heap_position[self.heap[place]] = place
            self.heap_size -= 1
            self._sift_up(place)
            self._sift_down(self.heap_position[self.heap[place]])
        else:
            self.heap_size -= 1
