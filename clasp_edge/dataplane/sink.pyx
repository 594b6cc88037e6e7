"""Who is told of changes and messages, and what is told: one `Delivery` for all who get it."""

cdef class Sink:
    """Something that consumes changes: a client, and later a device, the journal, an uplink."""

    cdef void deliver(self, Delivery* delivery) noexcept:
        pass
