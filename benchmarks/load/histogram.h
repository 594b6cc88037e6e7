/* Latency histogram: log-linear buckets, fixed memory, no floating point on the hot path.
 *
 * Responsible for: counting nanosecond values with at most 1/64 relative error and answering quantiles.
 * Must not know: what the values mean.
 */
#ifndef CLASPLOAD_HISTOGRAM_H
#define CLASPLOAD_HISTOGRAM_H

#include <stdint.h>

enum {
    HISTOGRAM_SUB_BITS = 6,                                /* 64 buckets per power of two: 1.6 % resolution */
    HISTOGRAM_BUCKETS = (64 - HISTOGRAM_SUB_BITS + 1) << HISTOGRAM_SUB_BITS,
};

struct histogram {
    uint64_t total;
    uint64_t max_ns;
    uint64_t counts[HISTOGRAM_BUCKETS];
};

void histogram_clear(struct histogram *h);

/* The value below which the fraction q (0..1) of all samples lies, in ns; 0 when there is no sample. */
uint64_t histogram_quantile_ns(const struct histogram *h, double q);

static inline void histogram_add(struct histogram *h, uint64_t ns)
{
    unsigned bucket;
    if (ns < (1u << HISTOGRAM_SUB_BITS)) {
        bucket = (unsigned)ns;
    } else {
        unsigned shift = 63u - (unsigned)__builtin_clzll(ns) - HISTOGRAM_SUB_BITS;
        bucket = (shift << HISTOGRAM_SUB_BITS) + (unsigned)(ns >> shift);
    }
    h->counts[bucket]++;
    h->total++;
    if (ns > h->max_ns)
        h->max_ns = ns;
}

#endif
