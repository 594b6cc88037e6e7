"""A CLASP peer's input: frames out of what was read, at the peer's rate, in its turn, and what waits for either.

`clasp_receiver.ClaspReceiver` acts on each frame in `_handle`; `ClaspInput` below it decides when. A peer that does not
read its replies, is above its rate or has had its time waits here, and its transport is paused. Of what is in a frame
this knows the address of a SET or PUBLISH, to look it up ahead, and the type of PING.
"""

import logging

cimport cython
from cpython.mem cimport PyMem_RawFree, PyMem_RawRealloc
from libc.string cimport memcpy
from posix.time cimport CLOCK_THREAD_CPUTIME_ID, clock_gettime, timespec

from clasp_edge.dataplane.account cimport INPUT
from clasp_edge.dataplane.bytes cimport get16, get32
from clasp_edge.dataplane.outbox cimport JOBS_AT_ONCE
from clasp_edge.dataplane.plane cimport STAGED, Staged
from clasp_edge.dataplane.table cimport Slot, Table
from clasp_edge.dataplane.token_bucket cimport owe, pay_time, refill, set_rate, used_s
from clasp_edge.dataplane.view cimport View

cdef extern from * nogil:
    void __builtin_prefetch(const void* address)

log = logging.getLogger("clasp_edge.dataplane")

cdef enum:
    MAX_FRAME = 65547
    LEAST_DEFERRED = 4096       # bytes for frames that wait: doubled as they need it
    PING = 0x41
    PING_US = 100000            # of a peer above its rate, one PING in this time is answered

cdef enum:
    YIELD_FROM_US = 500         # of one peer's input at once, before others may have their turn
    PREEMPTED_FROM_US = 200     # for one message: what takes longer by the clock may have waited for a processor
    INPUT_US = 4000             # of plain messages at once; a full read of them takes about one millisecond

cdef double HELD_S = 0.01       # a router above its rate is read from so often
cdef double LONGEST_HOLD_S = 1  # of a router with a debt: then it is told that we are here, and looked at again

# The router's CPU time when it was last looked at, and what of it has been paid for since. All receivers of a process
# run in one thread.
cdef uint64_t last_cpu_us = 0
cdef uint64_t paid_us = 0


cdef uint64_t _unpaid_cpu_us() noexcept:
    """CPU time of the router, in µs, since this was last asked, without what peers have paid for since. A router that
    is not alone on its board stands still for milliseconds in the middle of a message: nobody is to pay for that."""
    global last_cpu_us, paid_us
    cdef timespec now
    cdef uint64_t cpu_us, since_us
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now)
    cpu_us = <uint64_t>now.tv_sec * 1000000 + now.tv_nsec // 1000
    since_us = cpu_us - last_cpu_us
    since_us = since_us - paid_us if since_us > paid_us else 0
    last_cpu_us = cpu_us
    paid_us = 0
    return since_us


@cython.final
cdef class Turn:
    """A peer whose input waits, in the line of work in parts."""

    cdef ClaspInput _receiver

    def __cinit__(self, ClaspInput receiver not None):
        self._receiver = receiver

    def resume(self):
        self._receiver.take_deferred()


cdef class ClaspInput(ClaspSender):
    """`ClaspInput(core, plane)`: of a peer's connection, what comes in; see `open_outbox` for its socket."""

    def __cinit__(self, core, plane, *args, **kwargs):
        self.heard_us = self.core.mono_us

    def __dealloc__(self):
        PyMem_RawFree(self.deferred)

    # ---- what is above implements ----

    cdef void _handle(self, const uint8_t* data, size_t size) noexcept:
        """Act on one frame whose turn has come."""

    def on_rate_limited(self):
        """Messages were dropped because the peer sends too many; called at most once per second."""

    def on_no_room(self):
        """What the peer has sent must wait, and its account has no room for that."""

    def pause_input(self):
        """Stop reading from the peer."""

    def resume_input(self):
        """Read from the peer again."""

    def hold_input(self, double wait_s):
        """Call `take_deferred` after so long: a router has had all that its rate allows."""

    # ---- settings ----

    def touch(self):
        """Bytes came in that are no frame (a pong): the peer lives."""
        self.core.tick()
        self.heard_us = self.core.mono_us

    def set_rate(self, double messages_per_second, double bytes_per_second=0):
        """Limit what the peer may send (0 = no limit). What it has used up of the limit before stays used."""
        if not self.core.in_pass:
            self.core.tick()
        set_rate(&self.bucket, messages_per_second, bytes_per_second, self.core.mono_us)

    @property
    def used_s(self):
        """Seconds until the peer would have its whole rate again: above 1 it is in debt."""
        if not self.core.in_pass:
            self.core.tick()
        refill(&self.bucket, self.core.mono_us)
        return used_s(&self.bucket)

    def owe(self, double seconds):
        """Begin with so much used (`used_s`)."""
        owe(&self.bucket, seconds)

    @property
    def input_waits(self):
        """Whether the peer's input is on hold until it reads: its silence is ours."""
        return self.input_paused

    def charge(self, double messages):
        """Pay for `messages` more than the one already counted (a bundle's contents)."""
        if self.bucket.rate > 0:
            self.bucket.tokens -= messages * self.bucket.per_message

    def pay(self, double seconds):
        """Pay for work in parts by its time, as for a message that takes long."""
        pay_time(&self.bucket, seconds * 1e6)

    # ---- input ----

    def receive_stream(self, buffer, size_t filled):
        """Feed the frames in the first `filled` bytes of a stream with length prefixes (wire.md 6.2), as one pass.

        Returns how many bytes were used; the rest is the beginning of a frame. Raises ValueError for a length that no
        frame has; nothing after that can be understood.
        """
        cdef View view = View(buffer)
        cdef const uint8_t* data = view.data
        cdef size_t at = 0
        cdef size_t length
        if filled > view.size:
            raise ValueError("more bytes than the buffer has")
        try:
            while filled - at >= 4:
                length = get32(&data[at])
                if length > MAX_FRAME:
                    raise ValueError(f"a frame of {length} bytes was announced; at most {MAX_FRAME} are allowed")
                if filled - at - 4 < length:
                    break
                self.feed(&data[at + 4], length)
                at += 4 + length
        finally:
            self.end_of_buffer()
        return at

    def receive_frames(self, buffer, size_t filled):
        """Feed the frames in the first `filled` bytes of a stream with nothing between them (quic.md 3), as one pass.

        Returns how many bytes were used; the rest is the beginning of a frame. Raises ValueError where a frame does not
        begin with the magic byte: on a stream there is no way back.
        """
        cdef View view = View(buffer)
        cdef const uint8_t* data = view.data
        cdef size_t at = 0
        cdef size_t length
        if filled > view.size:
            raise ValueError("more bytes than the buffer has")
        try:
            while at < filled:
                if data[at] != 0x53:
                    raise ValueError(f"a CLASP frame begins with 0x53, this with 0x{data[at]:02X}")
                if filled - at < 4:
                    break
                length = (12 if data[at + 1] & 0x20 else 4) + get16(&data[at + 2])
                if filled - at < length:
                    break
                self.feed(&data[at], length)
                at += length
        finally:
            self.end_of_buffer()
        return at

    cdef void feed(self, const uint8_t* data, size_t size) noexcept:
        """One frame, as a transport received it. The memory must stay as it is until `end_of_buffer`, which the
        transport calls after the last frame of what it read."""
        cdef Staged* staged
        cdef size_t address_size
        self.core.begin()
        if self.pass_seen != self.core.passes:
            self.pass_seen = self.core.passes
            self.began_us = 0
            self.heard_us = self.core.mono_us
            refill(&self.bucket, self.core.mono_us)
        if self.plane.staging != <void*>self:
            self.plane.staging = <void*>self
            self.plane.staged_count = 0     # whatever another transport failed to finish is gone by now
        staged = &self.plane.staged[self.plane.staged_count]
        self.plane.staged_count += 1
        staged.data = data
        staged.size = size
        staged.id = 0
        # With many addresses a lookup waits for memory. The frames of one read are looked up ahead together, so that
        # the waits overlap; a frame that is not what it seems here merely gains nothing.
        if size >= 8 and not data[1] & 0x20 and (data[4] == 0x21 or data[4] == 0x20):
            address_size = get16(data + 6)
            if 8 + address_size <= size:
                staged.hash = self.plane.table.hash_of(data + 8, address_size)
                staged.id = 1
                __builtin_prefetch(&self.plane.table.slots[staged.hash & self.plane.table.mask])
        if self.plane.staged_count == STAGED:
            self._run_staged()

    cdef void _run_staged(self) noexcept:
        cdef Table table = self.plane.table
        cdef Slot* slot
        cdef Staged* staged
        cdef char* entry
        cdef int count = self.plane.staged_count
        cdef int i
        self.plane.staged_count = 0
        if count > 2:
            for i in range(count):
                staged = &self.plane.staged[i]
                if staged.id:
                    slot = &table.slots[staged.hash & table.mask]
                    staged.id = slot.id if slot.hash == staged.hash else 0
                    __builtin_prefetch(&table.entries[staged.id])
                    __builtin_prefetch(&table.older[staged.id])
                    __builtin_prefetch(&table.newer[staged.id])
            for i in range(count):
                staged = &self.plane.staged[i]
                if staged.id:
                    entry = <char*>table.entries[staged.id]
                    __builtin_prefetch(entry)
                    __builtin_prefetch(entry + 64)
                    __builtin_prefetch(entry + 128)
        for i in range(count):
            staged = &self.plane.staged[i]
            self.hash_known = staged.id != 0
            self.hash = staged.hash
            self._take(staged.data, staged.size)
            if self.core.heavy:
                self._measure()
        self.hash_known = False
        if count == STAGED and not self.yielding and self.core.elapsed_us() - self.began_us > INPUT_US:
            self._turn_over()

    cdef void _measure(self) noexcept:
        """Something took longer than a plain message: it is paid for by its time, and others get their turn."""
        global paid_us
        cdef uint64_t now_us = self.core.elapsed_us()
        cdef uint64_t took_us = now_us - self.core.measured_us
        self.core.heavy = False
        self.core.measured_us = now_us
        if self.bucket.rate > 0:
            if took_us >= PREEMPTED_FROM_US:
                took_us = min(took_us, _unpaid_cpu_us())
            else:
                paid_us += took_us
            pay_time(&self.bucket, took_us)
        if (now_us - self.began_us >= YIELD_FROM_US and not self.yielding
                and self.core.mono_us + now_us >= self.core.slice_ends_us):
            self._turn_over()

    cdef void _turn_over(self) noexcept:
        """What else has been read waits until this peer's turn comes again."""
        self.yielding = True
        if not self.input_paused:
            self.input_paused = True
            self._call_pause()
        if not self.resuming:
            self.resuming = True
            try:
                self.core.go_on(Turn(self))
            except Exception:
                log.exception("cannot resume a connection")

    cdef void _take(self, const uint8_t* data, size_t size) noexcept:
        """Handle one frame, or keep it while the peer does not read its replies."""
        if self.dead:
            return
        if (self.pressed or self.yielding or self.deferred_end or (self.paced and self._holds())
                or len(self.jobs) > JOBS_AT_ONCE):
            # What the peer asks must not pile up as answers. What one read brought waits here, the rest in the kernel.
            if not self._defer(data, size):
                try:
                    self.on_no_room()
                except Exception:
                    log.exception("a connection could not be closed")
            if not self.input_paused:
                self.input_paused = True
                self._call_pause()
            return
        self._handle(data, size)

    cdef bint _defer(self, const uint8_t* data, size_t size) noexcept:
        """Keep a frame for later; False where there is no room for it."""
        cdef size_t room = self.deferred_room if self.deferred_room else LEAST_DEFERRED
        cdef uint32_t length = <uint32_t>size
        cdef void* larger
        while room < self.deferred_end + sizeof(length) + size:
            room *= 2
        if room > self.deferred_room:
            if self.holding is not None and not self.holding.charge(room - self.deferred_room, INPUT):
                return False
            larger = PyMem_RawRealloc(self.deferred, room)
            if larger == NULL:
                if self.holding is not None:
                    self.holding.release(room - self.deferred_room, INPUT)
                return False
            self.deferred = <uint8_t*>larger
            self.deferred_room = room
        memcpy(self.deferred + self.deferred_end, &length, sizeof(length))
        self.deferred_end += sizeof(length)
        if size:
            memcpy(self.deferred + self.deferred_end, data, size)
        self.deferred_end += size
        return True

    cdef void _forget_deferred(self) noexcept:
        if self.holding is not None:
            self.holding.release(self.deferred_room, INPUT)
        PyMem_RawFree(self.deferred)
        self.deferred = NULL
        self.deferred_at = self.deferred_end = self.deferred_room = 0

    cdef bint _holds(self) noexcept:
        """Whether a router has had all that its rate allows: then what it says waits until there is more."""
        cdef double wait_s
        if self.bucket.rate <= 0 or self.bucket.tokens >= 1 or not self.greeted:
            return False
        wait_s = (max(1.0, self.bucket.rate * HELD_S) - self.bucket.tokens) / self.bucket.rate
        self.yielding = True
        if not self.input_paused:
            self.input_paused = True
            self._call_pause()
        self.held += 1
        if not self.resuming:
            self.resuming = True
            try:
                self.hold_input(min(wait_s, LONGEST_HOLD_S))
            except Exception:
                log.exception("cannot resume a connection")
        return True

    cdef void end_of_buffer(self) noexcept:
        if self.plane.staged_count and self.plane.staging == <void*>self:
            self._run_staged()
        if self.core.in_pass:
            self.core.end_read(<void*>self)

    def _call_pause(self):
        try:
            self.pause_input()
        except Exception:
            log.exception("cannot pause a connection")

    cdef void drained(self) noexcept:
        # Not from here: a fan-out of somebody else may be under way.
        if self.input_paused and not self.resuming and len(self.jobs) <= JOBS_AT_ONCE:
            self.resuming = True
            try:
                self.core.go_on(Turn(self))
            except Exception:
                log.exception("cannot resume a connection")

    def hold_back(self):
        """What the peer sends from here on waits, until `take_deferred` is called."""
        self.yielding = True
        self.resuming = True
        if not self.input_paused:
            self.input_paused = True
            self._call_pause()

    def take_deferred(self):
        """Handle what was read before the peer fell behind, then read on."""
        cdef uint32_t length
        cdef uint8_t* frame
        cdef int done = 0
        cdef bint outer = self.core.in_pass
        self.resuming = False
        self.yielding = False
        self.core.begin()
        refill(&self.bucket, self.core.mono_us)
        self.began_us = self.core.elapsed_us() if outer else 0
        self.core.measured_us = self.began_us
        # Nothing is deferred meanwhile: what is handled here is not taken in again.
        while (self.deferred_at < self.deferred_end and not self.pressed and not self.yielding
               and len(self.jobs) <= JOBS_AT_ONCE and not self.dead):
            if self.paced and self._holds():
                break
            memcpy(&length, self.deferred + self.deferred_at, sizeof(length))
            frame = self.deferred + self.deferred_at + sizeof(length)
            self.deferred_at += sizeof(length) + length
            done += 1
            self._handle(frame, length)
            if self.core.heavy or done % STAGED == 0:
                self._measure()
        if self.deferred_end and (self.dead or self.deferred_at == self.deferred_end):
            self._forget_deferred()
        if not outer:
            self.core.finish()
        if self.dead:
            pass
        elif self.pressed or self.yielding or len(self.jobs) > JOBS_AT_ONCE:
            pass                    # `drained` calls again, or the peer's turn comes
        elif self.deferred_end:
            self.drained()
        elif self.input_paused:
            self.input_paused = False
            self.resume_input()

    cdef bint _over_rate(self, const uint8_t* data, size_t size) noexcept:
        """A message above the rate: whether it is dropped. PING is answered all the same, so often: who has to wait for
        its rate is not to take the router for dead."""
        if (size >= 5 and data[0] == 0x53 and data[12 if data[1] & 0x20 and size > 12 else 4] == PING
                and self.core.mono_us - self.spared_us >= PING_US):
            self.spared_us = self.core.mono_us
            return False
        self.over_rate += 1
        self.core.over_rate += 1
        if self.core.mono_us - self.complained_us >= 1000000 or self.complained_us == 0:
            self.complained_us = self.core.mono_us
            try:
                self.on_rate_limited()
            except Exception:
                log.exception("an error could not be sent")
        return True
