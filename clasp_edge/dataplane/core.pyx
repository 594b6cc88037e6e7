"""What all outboxes of one router share: the arena, the clock of a pass, who has unsent bytes, and work in parts.

A pass is what one read sets off; at its end everybody who got something is written to once. Work that takes longer than
a message is cut in parts, which share a slice of each round of the loop.
"""

import logging
from collections import deque

cimport cython
from cpython.ref cimport Py_DECREF, Py_INCREF
from libc.stdlib cimport free, realloc

cdef extern from "<time.h>" nogil:
    struct timespec:
        long tv_sec
        long tv_nsec
    int clock_gettime(int clock, timespec* result)
    int CLOCK_REALTIME, CLOCK_MONOTONIC

cdef extern from *:
    """
    #include <signal.h>
    static volatile sig_atomic_t clasp_signalled;
    static struct sigaction clasp_before;
    static void clasp_on_signal(int number) {
        clasp_signalled = 1;
        if (clasp_before.sa_handler != SIG_DFL && clasp_before.sa_handler != SIG_IGN)
            clasp_before.sa_handler(number);
    }
    static int clasp_watch_signal(int number) {
        struct sigaction found;
        if (sigaction(number, NULL, &found) != 0 || found.sa_flags & SA_SIGINFO) return -1;
        if (found.sa_handler == clasp_on_signal) return 0;
        clasp_before = found;
        found.sa_handler = clasp_on_signal;
        return sigaction(number, &found, NULL);
    }
    """
    int clasp_signalled
    int clasp_watch_signal(int number)

log = logging.getLogger("clasp_edge.dataplane")

cdef object on_signal = None        # what is done about the signal; there is one loop in a process
cdef uint64_t ticked_pass = 0

cdef enum:
    ADAPTER_ROUNDS = 4              # of adapters answering adapters within one pass
    BUSY_GAP_US = 200               # reads closer together than this count as simultaneous
    ALTERNATIONS = 32               # of simultaneous reads by different peers in a row, before writes are gathered
    LONELY_WRITES = 8               # gathered writes that served one read only, before writing at once again
    SLICE_BESIDE_US = 500           # of work that begins anew in a round in which older work has had its slice


cdef void _act_on_signal() noexcept:
    global clasp_signalled
    clasp_signalled = 0
    try:
        on_signal()
    except Exception:
        log.exception("a signal could not be acted on")


cdef class Buffered(Sink):
    """A sink with bytes to write, which goes out with everybody else's at the end of a pass."""

    cdef void flush(self) noexcept:
        pass


# Outboxes give their chunks back when they are freed, be it by the garbage collector in whatever order: until then
# neither may lose the way to the arena.
@cython.no_gc_clear
cdef class Core:
    """What all outboxes of one router share: the arena, the pass clock, the list of outboxes with unsent bytes.

    `high_water` and `event_backlog` are bytes per outbox.
    """

    def __cinit__(self, arena_mib, high_water, event_backlog):
        self.arena = Arena(arena_mib)
        self.adapters = []
        self.waiting = deque()
        self.high_water = high_water
        self.event_backlog = event_backlog
        self.tick()

    def __dealloc__(self):
        free(self.dirty)

    cdef void tick(self) noexcept:
        global ticked_pass
        cdef timespec now
        clock_gettime(CLOCK_REALTIME, &now)
        self.wall_us = <uint64_t>now.tv_sec * 1000000 + now.tv_nsec // 1000
        clock_gettime(CLOCK_MONOTONIC, &now)
        self.mono_us = <uint64_t>now.tv_sec * 1000000 + now.tv_nsec // 1000
        if clasp_signalled and self.in_pass and self.passes != ticked_pass:
            # A pass begins, and nothing of it has been looked at.
            _act_on_signal()
            self.in_pass = True
        ticked_pass = self.passes

    def first_on_signal(self, int number, act):
        """Have `act()` called on the loop's thread when the signal has come, before anything is looked at that came
        after it. The loop tells of a signal in its own time, when it has served every socket that was ready: who calls
        this has set a handler there, which calls `act_on_signal`. Raises OSError."""
        global on_signal
        on_signal = act
        if clasp_watch_signal(number) != 0:
            raise OSError(f"signal {number} cannot be watched")

    def act_on_signal(self):
        """The loop has heard of the signal: do what is to be done about it, if that was not done already."""
        if clasp_signalled:
            _act_on_signal()

    cdef void mark_dirty(self, Buffered outbox) noexcept:
        cdef PyObject** grown
        if self.dirty_count == self.dirty_room:
            grown = <PyObject**>realloc(self.dirty, (self.dirty_room * 2 + 64) * sizeof(PyObject*))
            if grown == NULL:
                return          # the bytes stay in the outbox; the next pass tries again
            self.dirty = grown
            self.dirty_room = self.dirty_room * 2 + 64
        outbox.is_dirty = True
        Py_INCREF(outbox)
        self.dirty[self.dirty_count] = <PyObject*>outbox
        self.dirty_count += 1

    # ---- work in parts: nobody's question may keep the others waiting ----

    cdef uint64_t elapsed_us(self) noexcept:
        """Microseconds since the pass began."""
        cdef timespec now
        clock_gettime(CLOCK_MONOTONIC, &now)
        return <uint64_t>now.tv_sec * 1000000 + now.tv_nsec // 1000 - self.mono_us

    cdef bint is_slice_over(self) noexcept:
        return self.mono_us + self.elapsed_us() >= self.slice_ends_us

    @property
    def slice_over(self):
        """Whether work in parts has had its time in this round of the loop: the rest is for `go_on`."""
        return self.is_slice_over()

    cdef void open_round(self) noexcept:
        """Work in parts has begun: what begins beside it until the loop's next round shares the slice."""
        if self.round_due:
            return
        try:
            self.loop.call_soon(self.run_round)
            self.round_due = True
        except Exception:
            log.exception("cannot schedule work in parts")

    def go_on(self, party):
        """Have `party.resume()` called in a later round of the loop, when its turn has come."""
        self.waiting.append(party)
        self.open_round()

    @property
    def work_waits(self):
        """How many parties have work in parts that is to go on as soon as their turn comes."""
        return len(self.waiting)

    def start_work(self, steps):
        """Run the iterator `steps` to its end, in turns with all other work in parts: each of its steps is to be short.
        Returns the `Work`."""
        work = Work(self, steps)
        self.go_on(work)
        return work

    def run_round(self):
        """Called by the loop: everybody who waits in turn, as far as the slice lasts."""
        cdef bint outer = self.in_pass
        self.round_due = False
        waiting, self.waiting = self.waiting, deque()
        self.begin()
        self.slice_ends_us = self.mono_us + SLICE_US
        while waiting and not self.is_slice_over():
            party = waiting.popleft()
            try:
                party.resume()
            except Exception:
                log.exception("work in parts failed")
        waiting.extend(self.waiting)
        self.waiting = waiting
        if waiting:
            self.open_round()
            self.slice_ends_us = self.mono_us + self.elapsed_us() + SLICE_BESIDE_US
        if not outer:
            self.finish()

    cdef void finish(self) noexcept:
        """End of a pass: one write per outbox that got something. Sending may wake jobs that dirty further outboxes."""
        cdef size_t i = 0
        cdef Buffered outbox
        if self.adapters:
            self._run_adapters()
        while i < self.dirty_count:
            outbox = <Buffered>self.dirty[i]
            i += 1
            outbox.is_dirty = False
            outbox.flush()
            Py_DECREF(outbox)
        self.dirty_count = 0
        self.in_pass = False

    cdef void _run_adapters(self) noexcept:
        """What an adapter does in answer may reach another one, or itself again; the rounds are bounded, what is left
        over then comes with the next turn of the loop."""
        cdef int rounds = 0
        while self.adapters and rounds < ADAPTER_ROUNDS:
            rounds += 1
            waiting = self.adapters
            self.adapters = []
            for adapter in waiting:
                try:
                    adapter.run()
                except Exception:
                    log.exception("an adapter failed")
        if self.adapters:
            try:
                self.loop.call_soon(self.end_pass)
            except Exception:
                log.exception("cannot schedule the adapters")

    cdef void end_read(self, void* reader) noexcept:
        """End of a pass over what `reader` sent.

        With one busy peer, writing now is best. With many, each read brings little, and their receivers would get a
        write for every bit of it: then the outboxes are written once when the loop has served every socket that was
        ready.
        """
        if reader != self.last_reader and self.mono_us - self.last_read_us < BUSY_GAP_US:
            if self.alternations < ALTERNATIONS:
                self.alternations += 1
            else:
                self.gathering = True
        elif reader != self.last_reader or self.mono_us - self.last_read_us >= BUSY_GAP_US:
            self.alternations = 0
        self.last_reader = reader
        self.last_read_us = self.mono_us
        if not self.gathering:
            self.finish()
            return
        self.in_pass = False
        self.gathered += 1
        if (self.dirty_count or self.adapters) and not self.gather_scheduled:
            try:
                self.loop.call_soon(self.write_gathered)
                self.gather_scheduled = True
            except Exception:
                log.exception("cannot schedule a write")
                self.finish()

    def write_gathered(self):
        """Called by the loop after every socket that was ready has been read."""
        self.gather_scheduled = False
        if self.gathered > 1:
            self.lonely = 0
        else:
            self.lonely += 1
            if self.lonely > LONELY_WRITES:
                self.gathering = False
                self.alternations = 0
                self.lonely = 0
        self.gathered = 0
        self.begin()
        self.finish()

    def begin_pass(self):
        """Open a pass from the control plane (timers, scheduled work); `end_pass` writes out what it produced."""
        self.begin()

    def end_pass(self):
        self.finish()

    @property
    def now_us(self):
        """Unix microseconds at the start of the current pass."""
        return self.wall_us

    @property
    def monotonic_us(self):
        return self.mono_us

    def refresh_clock(self):
        self.tick()

    @property
    def arena_free(self):
        """Bytes of the arena that are not lent out."""
        return self.arena.free_bytes()

    @property
    def arena_total(self):
        return self.arena.total * 4080


@cython.final
cdef class Work:
    """An iterator that is run in parts (`Core.start_work`)."""

    cdef Core _core
    cdef object _steps

    def __cinit__(self, Core core not None, steps):
        self._core = core
        self._steps = steps

    def cancel(self):
        """Do no more of it."""
        self._steps = None

    def resume(self):
        """The next part."""
        ended = object()
        while self._steps is not None:
            if next(self._steps, ended) is ended:
                self._steps = None
            elif self._core.slice_over:
                self._core.go_on(self)
                return
