"""Outgoing bytes of one peer: an outbox in the arena, one write per pass, and what happens when the peer is slow.

Promises under pressure (architecture.md 5): params converge, events are bounded and their loss is counted and told,
streams lose the oldest first. Knows sockets by their descriptor only; what the bytes mean is the subclass's business.
"""

import logging
import os

cimport cython
from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.errno cimport EAGAIN, EINTR, errno
from libc.string cimport memset

from clasp_edge.dataplane.account cimport SESSIONS
from clasp_edge.dataplane.arena cimport Chunk
from clasp_edge.dataplane.sink cimport CONVERGES, OLDEST_FIRST
from clasp_edge.dataplane.sockets cimport MSG_DONTWAIT, MSG_NOSIGNAL, iovec, msghdr, send, sendmsg

log = logging.getLogger("clasp_edge.dataplane")


cdef enum:
    AUDIT_PERIOD_US = 60000000
    IOVECS = 64                     # per sendmsg: 256 KiB, a full outbox at the default mark
    STREAM_BACKLOG_BYTES = 65536    # streams held back per peer: half a second of a 60 Hz stream with 2 KiB of samples
    LEAST_PIECE = 4000              # of an answer: with its headers a chunk, which everybody may hold
    FILL_ROUNDS = 4                 # refill-and-send rounds before other peers get their turn

cdef double ARENA_RETRY_S = 0.02    # until an outbox that found the arena lent out looks again


# What waits in memory of its own, while the arena is lent out, is charged as the session's.

cdef bint _charge_held(Outbox outbox) noexcept:
    """For a piece of an answer that the arena has no room for. False where its holding has none either."""
    cdef size_t size = <size_t>len(outbox.held)
    if outbox.holding is None:
        return True
    if size > LEAST_PIECE:
        return outbox.holding.charge(size, SESSIONS)
    outbox.holding.force(size, SESSIONS)
    return True


cdef void _let_held_go(Outbox outbox) noexcept:
    if outbox.held is not None and outbox.holding is not None:
        outbox.holding.release(<size_t>len(outbox.held), SESSIONS)
    outbox.held = None


cdef void _end_job(Outbox outbox) noexcept:
    """The first one."""
    cdef size_t keeps
    if outbox.jobs:
        keeps = <size_t>outbox.jobs.pop(0)[1]
        if keeps and outbox.holding is not None:
            outbox.holding.release(keeps, SESSIONS)


cdef void _end_jobs(Outbox outbox) noexcept:
    _let_held_go(outbox)
    while outbox.jobs:
        _end_job(outbox)


# Outboxes give their chunks back when they are freed, be it by the garbage collector in whatever order: until then
# they may not lose the way to the arena.
@cython.no_gc_clear
cdef class Outbox(Buffered):
    """A peer behind a socket. `scopes` limits what it may read and write (None: everything)."""

    def __cinit__(self, Core core, *args, **kwargs):
        self.core = core
        self.fd = -1
        self.watched_fd = -1
        self.jobs = []

    def __dealloc__(self):
        if self.core is not None:
            self.core.arena.clear(&self.out)
            self.core.arena.clear(&self.backlog)
            self.core.arena.clear(&self.held_now)
            self.core.arena.clear(&self.held_next)
            self.core.arena.clear(&self.withheld)
        if self.watched_fd >= 0:
            os.close(self.watched_fd)

    def open_outbox(self, int fd):
        """Start writing to the connected non-blocking socket `fd`. The caller keeps it open until `close_outbox`."""
        self.fd = fd
        self.progress_us = self.core.mono_us

    def open_stream(self, stream, size_t room):
        """Start writing to `stream.write(bytes)` in place of a socket: never more than `room`, which goes down by what
        is written. Its owner raises `room`, and calls `on_writable` where the outbox is `blocked`."""
        self.stream = stream
        self.room = room
        self.progress_us = self.core.mono_us

    def close_outbox(self):
        """Forget the socket and everything that waits for it."""
        self.dead = True
        self._unwatch()
        self.fd = -1
        self.stream = None
        _end_jobs(self)
        self.converging = False
        self.core.arena.clear(&self.out)
        self.core.arena.clear(&self.backlog)
        self.core.arena.clear(&self.held_now)
        self.core.arena.clear(&self.held_next)
        self.core.arena.clear(&self.withheld)

    def fall_silent(self):
        """The last word is queued, a WebSocket's close (RFC 6455, 5.5.1: nothing may follow it). What waits behind the
        outbox is dropped."""
        self.silent = True
        _end_jobs(self)
        self.converging = False
        self.core.arena.clear(&self.backlog)

    @property
    def queued_bytes(self):
        return self.out.size + self.backlog.size

    @property
    def busy(self):
        """Whether anything waits for the peer to read: bytes, held-back streams, unfinished snapshots, stale params."""
        return self.out.size > 0 or self.backlog.size > 0 or self.converging or len(self.jobs) > 0

    def take_untold_drops(self):
        """How many events and stream frames were dropped since the peer was last told."""
        count = self.untold_drops
        self.untold_drops = 0
        return count

    @property
    def piece_bytes(self):
        """How large a piece of an answer should be now: what is left of the arena for this peer."""
        cdef size_t left = self.core.arena.share()
        return left - self.out.size if left > self.out.size + LEAST_PIECE else LEAST_PIECE

    def start_job(self, job, size_t keeps=0):
        """Send the wire images that the iterator `job` yields, no faster than the peer reads them. It should keep
        nothing of what it has yielded; what it keeps else, `keeps` bytes, is charged. False, and nothing is sent, where
        there is no room for that."""
        if self.silent or self.dead:
            return True
        if keeps and self.holding is not None and not self.holding.charge(keeps, SESSIONS):
            return False
        self.jobs.append((job, keeps))
        self.fill()
        if not self.is_dirty and self.out.size:
            self.core.mark_dirty(self)
        return True

    def end_abruptly(self):
        """Called (by the loop) when the socket refused bytes for good; the transport's owner closes it."""

    # ---- adding bytes ----

    cdef void push(self, const uint8_t* data, size_t size, Delivery* delivery) noexcept:
        """Queue one delivery (already framed), subject to the promises under pressure."""
        if (self.pressed or (self.converging and delivery.loss == CONVERGES)
                or (self.backlog.size and delivery.loss == OLDEST_FIRST)):
            self._under_pressure(data, size, delivery)
            return
        if not self.put(data, size):
            self.flush()
            if not self.put(data, size):
                self.pressed = True
                if not self.blocked:
                    # Others hold the arena: the socket will not wake us.
                    self._resume_later(ARENA_RETRY_S)
                self._under_pressure(data, size, delivery)
                return
        if not self.is_dirty:
            self.core.mark_dirty(self)
        if self.out.size > self.core.mark():
            self.flush()
            if self.blocked and self.out.size > self.core.mark():
                self.pressed = True

    cdef bint reply(self, const uint8_t* data, size_t size) noexcept:
        """Queue an answer to the peer's own request: never dropped. False when there is no room for it even after a
        write: the caller must close the connection then."""
        if self.dead or self.silent:
            return True
        if not self.put(data, size):
            self.flush()
            if not self.put(data, size):
                # Who reads gets it through the reserve; but the rest of it may not stay there.
                if self.blocked or not self.core.arena.append(&self.out, data, size):
                    return False
                self.flush()
                if not self.core.arena.leaves(self.out.size):
                    self._die()
                return True
        if not self.is_dirty:
            self.core.mark_dirty(self)
        if self.out.size > self.core.mark():
            self.flush()
            if self.blocked and self.out.size > self.core.mark():
                self.pressed = True
        return True

    cdef void _under_pressure(self, const uint8_t* data, size_t size, Delivery* delivery) noexcept:
        if delivery.loss == CONVERGES:
            if not self.converging:
                self.converging = True
                self.cursor = delivery.seq - 1
            self.conflated_params += 1
            self.core.conflated_params += 1
        elif delivery.loss == OLDEST_FIRST:
            self._hold_back(data, size)
        elif (self.out.size + size <= self.core.high_water + self.core.event_backlog
                and self.put(data, size)):
            pass
        else:
            self.dropped_events += 1
            self.core.dropped_events += 1
            self.untold_drops += 1

    cdef void _hold_back(self, const uint8_t* data, size_t size) noexcept:
        cdef uint32_t length = <uint32_t>size
        cdef size_t dropped = 0
        cdef bint kept = False
        if size + 4 <= STREAM_BACKLOG_BYTES:
            while self.backlog.size and (self.backlog.size + size + 4 > STREAM_BACKLOG_BYTES
                                         or not self.core.arena.leaves(self.out.size + self.backlog.size + size + 4)):
                dropped += self._drop_held()
            if (self.core.arena.leaves(self.out.size + self.backlog.size + size + 4)
                    and self.core.arena.free > (size + 4) // 4080 + 1):
                self.core.arena.append(&self.backlog, <uint8_t*>&length, 4)
                self.core.arena.append(&self.backlog, data, size)
                kept = True
        dropped += not kept
        self.dropped_streams += dropped
        self.core.dropped_streams += dropped
        self.untold_drops += dropped

    cdef size_t _drop_held(self) noexcept:
        """Forget the oldest held-back stream frame."""
        cdef uint32_t length
        self.core.arena.copy_out(&self.backlog, <uint8_t*>&length, 4)
        self.core.arena.consume(&self.backlog, 4 + length)
        return 1

    # ---- sending ----

    cdef void flush(self) noexcept:
        """Write what the socket takes, then refill from what waits behind the outbox."""
        cdef iovec vectors[IOVECS]
        cdef msghdr message
        cdef Chunk* chunk
        cdef ssize_t sent
        cdef size_t offered
        cdef int count
        if self.blocked or self.dead:
            return
        while self.out.size:
            chunk = self.out.head
            if self.stream is not None:
                offered = self.out.size
                sent = self._write_stream()
                if sent <= 0:
                    if sent < 0:
                        self._die()
                    self.blocked = True
                    return
            elif chunk.next == NULL:
                offered = self.out.size
                sent = send(self.fd, &chunk.data[chunk.begin], offered, MSG_NOSIGNAL | MSG_DONTWAIT)
            else:
                count = 0
                offered = 0
                while chunk != NULL and count < IOVECS:
                    vectors[count].iov_base = &chunk.data[chunk.begin]
                    vectors[count].iov_len = chunk.end - chunk.begin
                    offered += vectors[count].iov_len
                    count += 1
                    chunk = chunk.next
                memset(&message, 0, sizeof(message))
                message.msg_iov = vectors
                message.msg_iovlen = count
                sent = sendmsg(self.fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT)
            if sent < 0:
                if errno == EINTR:
                    continue
                if errno == EAGAIN:      # the same number as EWOULDBLOCK on Linux
                    self.blocked = True
                    self._watch()
                else:
                    self._die()
                return
            self.core.arena.consume(&self.out, <size_t>sent)
            self.core.sent_bytes += <size_t>sent
            self.sent_bytes += <size_t>sent
            self.progress_us = self.core.mono_us
            if <size_t>sent < offered:
                self.blocked = True
                self._watch()
                return
        # An empty outbox returns its last chunk too: a thousand quiet peers hold nothing.
        if self.out.head != NULL:
            self.core.arena.clear(&self.out)
        if self.pressed or self.backlog.size or self.converging or self.wanting or self.jobs:
            self.fill()

    cdef ssize_t _write_stream(self) noexcept:
        """Hand the stream what it has room for, without consuming it; how much that is, -1 where it fails for good."""
        cdef size_t size = self.out.size if self.out.size < self.room else self.room
        cdef bytes piece
        if size == 0:
            return 0
        try:
            piece = PyBytes_FromStringAndSize(NULL, size)
            self.core.arena.copy_out(&self.out, <uint8_t*><char*>piece, size)
            self.room -= size
            self.stream.write(piece)
        except Exception:
            log.exception("a stream could not be written to")
            return -1
        return <ssize_t>size

    cdef void fill(self) noexcept:
        """Refill the outbox from held-back streams, stale params and jobs, in turns, as long as the socket takes it."""
        cdef size_t limit
        cdef uint32_t length
        cdef int rounds = 0
        cdef uint8_t record[65700]
        if self.filling or self.dead:
            return
        self.filling = True
        while not self.blocked and not self.dead:
            limit = self.core.mark() >> 1
            if self.out.size <= limit:
                self.pressed = False
            while self.backlog.size and self.out.size < limit:
                self.core.arena.copy_out(&self.backlog, <uint8_t*>&length, 4)
                self.core.arena.consume(&self.backlog, 4)
                self.core.arena.copy_out(&self.backlog, record, length)
                self.core.arena.consume(&self.backlog, length)
                if not self.put(record, length):
                    self.dropped_streams += 1
                    self.core.dropped_streams += 1
                    self.untold_drops += 1
            if self.backlog.size == 0 and self.backlog.head != NULL:
                self.core.arena.clear(&self.backlog)
            if self.converging and self.held is None and self.out.size < limit:
                self.catch_up(limit)
            if self.jobs and self.out.size < limit and not self.resume_due:
                self._pull_jobs(limit)
            if self.wanting and self.out.size < limit:
                self.more(limit)
            if self.out.size == 0:
                if self.converging or self.backlog.size or self.jobs:
                    self._resume_later(ARENA_RETRY_S)
                break
            rounds += 1
            if rounds >= FILL_ROUNDS:
                # Others get their turn; the loop comes back for the rest.
                self._resume_later(0)
                break
            self.flush()
        self.filling = False
        if not self.pressed and not self.dead:
            self.drained()

    def resume(self):
        """Continue sending after other peers had their turn."""
        cdef bint outer = self.core.in_pass
        self.resume_due = False
        self.core.begin()
        self.flush()
        if not outer:
            self.core.finish()

    cdef void _resume_later(self, double delay_s) noexcept:
        if self.resume_due or self.dead:
            return
        try:
            if delay_s > 0:
                self.core.loop.call_later(delay_s, self.resume)
            else:
                self.core.go_on(self)
            self.resume_due = True
        except Exception:
            log.exception("cannot schedule the rest of an outbox")

    cdef void _pull_jobs(self, size_t limit) noexcept:
        cdef bint is_new
        while self.jobs and self.out.size < limit:
            try:
                is_new = self.held is None
                if is_new:
                    if self.waits_for_commit():
                        return          # the journal calls when it has answered
                    if self.core.is_slice_over():
                        self._resume_later(0)
                        return
                    self.core.open_round()
                    piece = next(self.jobs[0][0], None)
                    if self.dead or self.silent:
                        return          # closed by what was read
                    if piece is None:
                        _end_job(self)
                        continue
                    if not piece:
                        # Much was looked at and nothing found yet: others get their turn.
                        self._resume_later(0)
                        return
                    self.held = <bytes>piece
                    piece = None
                    self.await_commit()
                kept = self.keep(self.held)
                if not kept and (kept is None or not self.put(<const uint8_t*><char*>self.held, len(self.held))):
                    if is_new and not _charge_held(self):
                        self.held = None
                        self._die()
                        return
                    if not self.converging:
                        # What changes from here on must not overtake the piece that waits.
                        self.converging = True
                        self.cursor = self.last_change()
                    return
                if is_new:
                    self.held = None
                else:
                    _let_held_go(self)
            except Exception:
                log.exception("a reply in parts failed")
                _let_held_go(self)
                _end_job(self)

    def waits_for_commit(self):
        """Whether answers wait for the journal, which what comes next must not overtake (the subclass knows it)."""
        return False

    def await_commit(self):
        """What is sent to the peer next tells of something that may not be stored yet (the subclass knows that)."""

    def keep(self, bytes piece not None):
        """Keep a piece of an answer until what it tells is stored. False: it may go; None: there is no room to keep it
        (the subclass knows the journal)."""
        return False

    cdef uint64_t last_change(self) noexcept:
        """The table's change counter as it stands (the subclass knows the table)."""
        return 0

    cdef void catch_up(self, size_t limit) noexcept:
        """Queue the newest value of params that changed after `cursor` (the subclass knows the table)."""
        self.converging = False

    cdef void more(self, size_t limit) noexcept:
        """Queue what waits in the subclass's own way."""
        self.wanting = False

    cdef void drained(self) noexcept:
        """The peer is no longer under pressure."""

    cdef void audit(self, const uint8_t* address, size_t size) noexcept:
        """A write of an administrator was accepted: the first in a minute is told with its address, others are counted.
        """
        self.unaudited += 1
        if self.core.mono_us < self.audit_due_us:
            return
        self.audit_due_us = self.core.mono_us + AUDIT_PERIOD_US
        try:
            self.on_audited(PyBytes_FromStringAndSize(<const char*>address, size))
        except Exception:
            log.exception("a write could not be noted")

    def on_audited(self, bytes address):
        """A write, and `unaudited` - 1 before it, are to be noted."""

    cdef bint answer_now(self) noexcept:
        """Nothing can be stored, or confirmed: of the replies that wait for it, all but those that confirm a write go
        out. Whether no others are left."""
        return False

    cdef void _die(self) noexcept:
        self.dead = True
        try:
            self.core.loop.call_soon(self.end_abruptly)
        except Exception:
            log.exception("cannot close a broken connection")

    # ---- waiting for room ----

    cdef void _watch(self) noexcept:
        # The transport's own descriptor belongs to the event loop, which refuses a second watcher on it; a duplicate of
        # it may be watched beside it.
        if self.watched_fd >= 0 or self.stream is not None:
            return
        try:
            self.watched_fd = os.dup(self.fd)
            self.core.loop.add_writer(self.watched_fd, self.on_writable)
        except Exception:
            log.exception("cannot wait for a slow peer")
            self._die()

    cdef void _unwatch(self) noexcept:
        if self.watched_fd < 0:
            return
        try:
            self.core.loop.remove_writer(self.watched_fd)
            os.close(self.watched_fd)
        except Exception:
            log.exception("cannot stop waiting for a slow peer")
        self.watched_fd = -1

    def on_writable(self):
        """Called by the loop when the socket of a blocked peer has room."""
        self.core.begin()
        self.blocked = False
        self.flush()
        if not self.blocked:
            self._unwatch()
        self.core.finish()
