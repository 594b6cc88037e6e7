"""What remote parties make the router keep, in bytes: one account for each principal (a token's subject, else a host).

Whoever keeps something for a session, a device or a peer charges it to a `Holding` of theirs before it is kept, and
refuses it, with the protocol's own code, where there is no room; a holding that is closed gives everything back.

The share of one principal is as much as is left for others (a dynamic threshold, Choudhury and Hahne 1998): one alone
gets half, two a third each. An eighth of the total is kept for those that hold next to nothing. So a few greedy
principals leave room for all others, and there are no shares to configure. Params, addresses that are only published
to and fan-out lists are nobody's, and on the same total: principals get what those leave, and params what principals
leave, a quarter of the total each at least.

Compiled because queues and params are charged where messages pass. Knows nothing of what is kept.
"""

cimport cython

from operator import attrgetter
from weakref import WeakValueDictionary

cdef enum:
    RESERVED_PART = 8           # of the total: for principals that hold next to nothing
    LOG_BURST_S = 10            # what may be logged at once, as a time at the rate
    LEAST_BURST = 1 << 17       # and at least: a record of any size
    SMALL_PART = 1024           # of the total: that is next to nothing
    LEAST_PART = 4              # of the total: what principals, or params, may have whatever the others take
    PARAM_BYTES = 250           # of a param, beside its address and value: its entry, and its places in the indexes
    ROUTE_BYTES = 200           # the same of an address that is only published to

KIND_NAMES = ("subscriptions", "queues", "sessions", "aliases", "wills", "schedule", "filters", "announces",
              "federation", "input", "osc")


@cython.no_gc_clear     # `state` is written to until the last holding has been given back
cdef class Accounts:
    """All of one router. `of(principal)` finds or makes an account, which is forgotten when nobody holds it."""

    def __cinit__(self, size_t total=0):
        self.total = total
        self.by_principal = WeakValueDictionary()

    def of(self, str principal not None):
        """The account of a principal, such as `token desk` or `host 10.0.0.7`."""
        cdef Account account = self.by_principal.get(principal)
        if account is None:
            account = Account.__new__(Account)
            account.accounts = self
            account.principal = principal
            self.by_principal[principal] = account
        return account

    def __len__(self):
        return len(self.by_principal)

    def give_params(self, uint64_t most):
        """How many bytes params may take if there is room. 0, or more than the total: that is their affair alone."""
        self.params_most = most
        if self.params_limit != NULL:
            self.params_limit[0] = most
        self.balance()

    def settle(self):
        """Have params keep to what the principals and the rest of the state leave by now."""
        self.balance()

    def forget_state(self):
        """Count to the total what principals hold, and nothing else: the state may go before the accounts."""
        self.params_limit = NULL
        self.state = None

    cdef bint shares(self) noexcept:
        """Whether params and principals have one total together."""
        return self.params_limit != NULL and 0 < self.params_most <= self.total

    cdef size_t beside_params(self) noexcept:
        """What the state takes beside addresses and values of params."""
        return (self.params[0] * <size_t>PARAM_BYTES + self.routes[0] * <size_t>ROUTE_BYTES + self.route_bytes[0]
                + self.fan_bytes[0])

    cdef size_t limit(self) noexcept:
        """What all principals may hold now."""
        cdef size_t taken
        if not self.shares():
            return self.total
        taken = self.params_bytes[0] + self.beside_params()
        return max(self.total // LEAST_PART, self.total - taken if taken < self.total else 0)

    cdef bint leave(self, size_t used, size_t size) noexcept:
        """Whether `size` bytes more are left for a principal that has `used` so far."""
        cdef size_t free, limit
        if self.total == 0:
            return True
        limit = self.limit()
        if self.used + size > limit:
            return False
        if used + size <= self.total // SMALL_PART:
            return True
        free = limit - limit // RESERVED_PART
        free = free - self.used if free > self.used else 0
        return used + size <= free

    cdef void balance(self) noexcept:
        """Have params keep to what the principals leave."""
        cdef size_t taken
        if self.shares():
            taken = self.used + self.beside_params()
            self.params_limit[0] = min(self.params_most, max(
                self.total // LEAST_PART, self.total - taken if taken < self.total else 0))

    def kinds(self):
        """Bytes held, by what they are for."""
        return {name: self.by_kind[kind] for kind, name in enumerate(KIND_NAMES)}

    def dropped_log(self):
        """Records of each principal that the log did not take, by principal."""
        return {account.principal: account.log_dropped for account in list(self.by_principal.values())
                if account.log_dropped}

    def heaviest(self, Py_ssize_t count):
        """The accounts that hold most, the heaviest first."""
        return sorted(self.by_principal.values(), key=attrgetter("used"), reverse=True)[:count]


# What is freed gives back what it held, be it by the garbage collector in whatever order: until then neither a holding
# nor its account may lose the way to the totals.
@cython.no_gc_clear
cdef class Account:
    """What one principal has."""

    def __repr__(self):
        return f"<account of {self.principal}: {self.used} bytes>"

    cdef bint has_room(self, size_t size) noexcept:
        # What is coming in is not kept: a token's own limit is for what is.
        if self.limit and self.used - self.input + size > self.limit:
            return False
        return self.accounts.leave(self.used, size)

    cdef bint has_input_room(self, size_t size) noexcept:
        """The same for what is coming in, of which a principal has a share of its own: whoever has filled its account
        is told so when it asks for more, and not cut off in the middle of asking."""
        return self.accounts.leave(self.input, size)

    cdef bint may_log(self, size_t size, double bytes_per_second, uint64_t now_us) noexcept:
        """Whether the log takes a record of it now, at that rate: a bucket that holds `LOG_BURST_S` of it."""
        cdef double burst = bytes_per_second * LOG_BURST_S
        if burst < LEAST_BURST:
            burst = LEAST_BURST
        self.log_tokens += (now_us - self.log_us) * 1e-6 * bytes_per_second
        if self.log_us == 0 or self.log_tokens > burst:
            self.log_tokens = burst
        self.log_us = now_us
        if self.log_tokens < size:
            self.log_dropped += 1
            return False
        self.log_tokens -= size
        return True

    def within(self):
        """Whether it holds no more than its share."""
        return self.has_room(0)

    cdef void refuse(self) noexcept:
        self.refusals += 1
        self.accounts.refusals += 1
        if self.accounts.on_refused is not None:
            try:
                self.accounts.on_refused(self)
            except Exception:
                pass            # what is refused stays refused


@cython.no_gc_clear
cdef class Holding:
    """What one session, device or peer has of its principal's account. Closed, or freed, it gives everything back."""

    def __cinit__(self, Account account not None):
        self.account = account

    def __dealloc__(self):
        if self.account is not None:        # or it was never made
            self.close()

    cpdef bint charge(self, size_t size, int kind) noexcept:
        """Take `size` bytes (Charge: what for). False, counted and told to the log, where there is no room."""
        if not (self.account.has_input_room(size) if kind == INPUT else self.account.has_room(size)):
            self.account.refuse()
            return False
        self.force(size, kind)
        return True

    cpdef void force(self, size_t size, int kind) noexcept:
        """Take what is there already, room or not."""
        cdef Account account = self.account
        account.used += size
        account.accounts.used += size
        account.accounts.by_kind[kind] += size
        self.by_kind[kind] += size
        self.size += size
        if kind == QUEUES:
            account.queued += size
        elif kind == INPUT:
            account.input += size
        account.accounts.balance()

    cpdef void release(self, size_t size, int kind) noexcept:
        """Give back `size` bytes, at most what was taken for this kind."""
        cdef Account account = self.account
        if size > self.by_kind[kind]:
            size = self.by_kind[kind]
        account.used -= size
        account.accounts.used -= size
        account.accounts.released += size
        account.accounts.balance()
        account.accounts.by_kind[kind] -= size
        self.by_kind[kind] -= size
        self.size -= size
        if kind == QUEUES:
            account.queued -= size
        elif kind == INPUT:
            account.input -= size

    cpdef void release_all(self, int kind) noexcept:
        """Give back all of one kind."""
        self.release(self.by_kind[kind], kind)

    def held(self, int kind):
        """Bytes held of this kind."""
        return self.by_kind[kind]

    def move(self, Account account not None):
        """Hold everything on another account from now on: the principal is known by another name."""
        cdef size_t size
        cdef int kind
        if account is self.account:
            return
        for kind in range(KINDS):
            size = self.by_kind[kind]
            if size:
                self.release(size, kind)
                account.used += size
                account.accounts.used += size
                account.accounts.by_kind[kind] += size
                self.by_kind[kind] = size
                self.size += size
                if kind == QUEUES:
                    account.queued += size
                elif kind == INPUT:
                    account.input += size
        self.account = account

    def close(self):
        """Give everything back."""
        cdef int kind
        for kind in range(KINDS):
            if self.by_kind[kind]:
                self.release(self.by_kind[kind], kind)
