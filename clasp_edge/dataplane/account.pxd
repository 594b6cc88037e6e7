from libc.stdint cimport uint32_t, uint64_t
from libc.stddef cimport size_t

cpdef enum Charge:              # what is kept (Holding.charge); KINDS counts them
    SUBSCRIPTIONS = 0
    QUEUES = 1
    SESSIONS = 2
    ALIASES = 3
    WILLS = 4
    SCHEDULE = 5
    FILTERS = 6
    ANNOUNCES = 7
    FEDERATION = 8
    INPUT = 9
    OSC = 10
    KINDS = 11


cdef class Accounts:
    cdef public size_t total            # bytes that all principals may hold together, 0 = unlimited
    cdef readonly size_t used
    cdef readonly size_t released       # bytes given back since the start
    cdef readonly uint64_t refusals
    cdef size_t by_kind[11]
    cdef object by_principal
    cdef public object on_refused       # called with an Account when it is refused something
    # What the state takes, on the same total (`share_total`); NULL: nothing.
    cdef object state
    cdef const uint64_t* params_bytes
    cdef const uint32_t* params
    cdef const uint64_t* route_bytes
    cdef const uint32_t* routes
    cdef const Py_ssize_t* fan_bytes
    cdef uint64_t* params_limit
    cdef readonly uint64_t params_most  # bytes that params may have if there is room

    cdef bint shares(self) noexcept
    cdef size_t beside_params(self) noexcept
    cdef size_t limit(self) noexcept
    cdef bint leave(self, size_t used, size_t size) noexcept
    cdef void balance(self) noexcept


cdef class Account:
    cdef object __weakref__
    cdef readonly Accounts accounts
    cdef readonly str principal
    cdef readonly size_t used
    cdef public size_t limit            # of its own, 0 = none: a token's quota
    cdef readonly size_t queued         # of it, in MQTT queues
    cdef readonly size_t input          # of it, for what is coming in
    cdef readonly uint64_t refusals
    cdef double log_tokens              # bytes of the journal's log that it may write now, while the log is rationed
    cdef uint64_t log_us
    cdef readonly uint64_t log_dropped  # records

    cdef bint may_log(self, size_t size, double bytes_per_second, uint64_t now_us) noexcept
    cdef bint has_room(self, size_t size) noexcept
    cdef bint has_input_room(self, size_t size) noexcept
    cdef void refuse(self) noexcept


cdef class Holding:
    cdef readonly Account account
    cdef readonly size_t size
    cdef size_t by_kind[11]

    cpdef bint charge(self, size_t size, int kind) noexcept
    cpdef void force(self, size_t size, int kind) noexcept
    cpdef void release(self, size_t size, int kind) noexcept
    cpdef void release_all(self, int kind) noexcept
