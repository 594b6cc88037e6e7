"""Strict mode: what is said to a peer waits until the commit that holds the peer's writes is done.

`HeldReplies` is the part of `journal_buffer.JournalBuffer` that `Outbox` talks to. A reply goes into the peer's queue
`held_next`; when what it rests on is collected that becomes `held_now`, and goes out when the commit is done.
"""

from libc.string cimport memset

from clasp_edge.dataplane.arena cimport Chunk, Queue


cdef class HeldReplies:
    """`HeldReplies(core)`."""

    def __cinit__(self, Core core not None, *args):
        self.core = core
        self.waiting = []
        self.covered = []
        self.durable = 1

    cdef void _wake(self) noexcept:
        """Something waits for a commit."""

    # ---- what a peer is told ----

    cdef bint hold(self, Outbox peer, const uint8_t* data, size_t size, bint confirms) noexcept:
        """Keep a reply if something that the peer wrote is not stored yet, or an earlier reply waits that it must not
        overtake. While nothing can be stored only what `confirms` waits."""
        if (peer.wrote_in < self.durable and peer.held_next.size == 0 and peer.held_now.size == 0
                and not (confirms and peer.withheld.size)):
            return False
        if self.failing and not confirms:
            return False
        if peer.held_next.head == NULL:
            try:
                self.waiting.append(peer)
            except MemoryError:
                peer._die()
                return True
            self._wake()
        # Not more than others can spare, in case the disk takes nothing for long; and never before its commit.
        if (peer.held_next.size + peer.withheld.size + size > self.core.arena.free_bytes() >> 1
                or not self.core.arena.append(&peer.held_next, data, size)):
            peer._die()
        return True

    cdef bint hold_delivery(self, Outbox peer, const uint8_t* data, size_t size) noexcept:
        """Keep a delivery behind the replies that wait: an answer must not overtake what was written after it. Not
        where that would take much memory; then what lives goes first."""
        if self.failing or peer.held_next.size + peer.held_now.size + size > self.core.mark():
            return False
        if peer.held_next.head == NULL:
            try:
                self.waiting.append(peer)
            except MemoryError:
                return False
            self._wake()
        return self.core.arena.append(&peer.held_next, data, size)

    # ---- commits ----

    cdef void _due(self):
        """Everything that has changed was collected: the commit of it is what waits."""
        cdef Outbox peer
        waiting = self.waiting
        self.waiting = []
        self.covered = []
        for item in waiting:
            peer = <Outbox>item
            if peer.held_next.head == NULL:
                continue            # what waited was for a connection that is gone; or the peer comes twice
            if peer.held_now.head != NULL:
                self.waiting.append(item)   # replies of an earlier commit come first (`withhold`)
                continue
            self.covered.append(item)
            peer.held_now = peer.held_next
            memset(&peer.held_next, 0, sizeof(Queue))

    cdef void _confirm(self):
        """The commit is done."""
        covered = self.covered
        self.covered = []
        self.core.begin()
        for item in covered:
            self._release(<Outbox>item, &(<Outbox>item).held_now, (<Outbox>item).held_now.size)
        self.core.finish()

    cdef void _put_back(self):
        """The commit has failed: nobody is told that something is safe which is not. What confirms waits on; who asked
        is answered (`cannot_store`)."""
        for item in self.covered:
            self._wait_on(item)
        self.covered = []

    def withhold(self):
        """Before `release` of what is stored: keep the replies of the batch under way that confirm a write, for
        `let_go`; who asked is answered. Who waits for them, with the bytes; an empty list where nobody does.

        The other router may be away for long, and meanwhile who waits hears what is said: so nothing waits behind
        these but others of their kind. Where they become many, what comes next waits after all."""
        cdef Outbox peer
        cdef Queue later
        cdef bint filling
        cdef size_t size
        covered = self.covered
        self.covered = []
        held = []
        self.core.begin()
        for item in covered:
            peer = <Outbox>item
            later = peer.held_next
            peer.held_next = peer.held_now
            memset(&peer.held_now, 0, sizeof(Queue))
            filling = peer.filling
            peer.filling = True         # what comes after these is of a later commit
            only_confirmations = peer.answer_now()
            peer.filling = filling
            size = peer.held_next.size
            if not only_confirmations or peer.withheld.size + size > self.core.mark():
                peer.held_now = peer.held_next
                held.append((peer, 0))
            elif size:
                _put_behind(&peer.withheld, &peer.held_next)
                held.append((peer, size))
            peer.held_next = later
        self.core.finish()
        return held

    def let_go(self, list held not None):
        """Send the replies that were withheld. Whether others have come after them, for which a commit is due."""
        cdef Outbox peer
        self.core.begin()
        for item, size in held:
            peer = <Outbox>item
            if size:
                self._release(peer, &peer.withheld, size)
            else:
                self._release(peer, &peer.held_now, peer.held_now.size)
        self.core.finish()
        return len(self.waiting) > 0

    def cannot_store(self):
        """Until a batch has been stored again, replies wait for it only where they confirm a write."""
        self.failing = True
        self.core.begin()
        for item in list(self.waiting):
            (<Outbox>item).answer_now()
        self.core.finish()

    cdef void _release(self, Outbox peer, Queue* queue, size_t size) noexcept:
        """Send the first so many bytes of it."""
        cdef Chunk* chunk
        cdef size_t piece
        while size and queue.size and not peer.dead:
            chunk = queue.head
            piece = min(size, <size_t>(chunk.end - chunk.begin))
            if not peer.reply(&chunk.data[chunk.begin], piece):
                peer._die()
                break
            self.core.arena.consume(queue, piece)
            size -= piece
        if peer.dead:
            self.core.arena.clear(queue)

    cdef void _wait_on(self, Outbox peer):
        """Put the replies of a commit that failed before those that came after."""
        if peer.held_now.head == NULL:
            return
        if peer.held_next.head == NULL:
            self.waiting.append(peer)
        _put_behind(&peer.held_now, &peer.held_next)
        peer.held_next = peer.held_now
        memset(&peer.held_now, 0, sizeof(Queue))


cdef void _put_behind(Queue* queue, Queue* more) noexcept:
    """All that is in the one is the end of the other."""
    if more.head == NULL:
        return
    if queue.head == NULL:
        queue[0] = more[0]
    else:
        queue.tail.next = more.head
        queue.tail = more.tail
        queue.size += more.size
    memset(more, 0, sizeof(Queue))
