"""The token bucket of a rate limit: it holds what one second allows, and fills as time passes.

One for each sender, whatever it speaks; how a sender is told that its bucket is empty is up to its protocol. All
inline: this is on every message's way. A bucket may be in debt (below 0): something costly is paid for when it is known
what it took.
"""

from libc.stddef cimport size_t
from libc.stdint cimport uint64_t

cdef enum:
    TIME_SHARES = 4             # of a second a sender at its rate may take one of so many: what takes longer costs more
    MOST_CHARGED_US = 20000     # at once


cdef struct TokenBucket:
    double rate                 # tokens per second; 0: no limit
    double tokens
    double per_message          # what a message takes: so much, or by its bytes if that is more
    double per_byte
    uint64_t refilled_us        # monotonic


cdef inline double full(const TokenBucket* bucket) noexcept nogil:
    """What the bucket holds: one second's worth, and one message where that is less than one."""
    return bucket.rate if bucket.rate > 1 else 1


cdef inline void refill(TokenBucket* bucket, uint64_t now_us) noexcept nogil:
    if bucket.rate > 0:
        bucket.tokens += (now_us - bucket.refilled_us) * bucket.rate * 1e-6
        if bucket.tokens > full(bucket):
            bucket.tokens = full(bucket)
        bucket.refilled_us = now_us


cdef inline void pay(TokenBucket* bucket, size_t size) noexcept nogil:
    """Take what a message of `size` bytes costs, whatever there is."""
    bucket.tokens -= max(bucket.per_message, size * bucket.per_byte)


cdef inline void pay_time(TokenBucket* bucket, double us) noexcept nogil:
    """Take what work of so many microseconds costs, whatever there is."""
    bucket.tokens -= min(us, <double>MOST_CHARGED_US) * bucket.rate * (1e-6 * TIME_SHARES)


cdef inline bint take(TokenBucket* bucket, size_t size) noexcept nogil:
    """Take one message of `size` bytes; False, and nothing taken, when the bucket is empty. A message may need more
    than there is: the next one waits for that."""
    if bucket.tokens < 1:
        return False
    pay(bucket, size)
    return True


cdef inline double used_s(const TokenBucket* bucket) noexcept nogil:
    """Seconds until a bucket that was just refilled is full: above 1 it is in debt."""
    return max(0.0, (bucket.rate - bucket.tokens) / bucket.rate) if bucket.rate > 0 else 0.0


cdef inline void owe(TokenBucket* bucket, double seconds) noexcept nogil:
    """Have the bucket full after so many seconds at the earliest."""
    if bucket.rate > 0 and seconds > 0 and bucket.tokens > bucket.rate * (1 - seconds):
        bucket.tokens = bucket.rate * (1 - seconds)


cdef inline void set_rate(TokenBucket* bucket, double messages_per_second, double bytes_per_second,
                          uint64_t now_us) noexcept nogil:
    """Another limit (0: none), and what was used stays used: a smaller bucket is as full as the larger one was, a
    larger one has what there was and fills. So nobody gets tokens by changes back and forth. A debt stays as long."""
    cdef double before = bucket.rate
    cdef bint same_unit = (messages_per_second > 0) == (bucket.per_message > 0)
    refill(bucket, now_us)
    bucket.rate = messages_per_second if messages_per_second > 0 else bytes_per_second
    bucket.per_message = 1 if messages_per_second > 0 else 0
    bucket.per_byte = bucket.rate / bytes_per_second if bytes_per_second > 0 else 0
    bucket.refilled_us = now_us
    if before <= 0:
        bucket.tokens = full(bucket)
    elif bucket.rate < before or bucket.tokens < 0 or not same_unit:
        bucket.tokens *= bucket.rate / before
