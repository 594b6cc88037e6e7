/* Latency histogram: the cold half (clearing and quantiles). See histogram.h. */
#include "histogram.h"

#include <string.h>

void histogram_clear(struct histogram *h)
{
    memset(h, 0, sizeof *h);
}

static uint64_t bucket_upper_ns(unsigned bucket)
{
    unsigned per_octave = 1u << HISTOGRAM_SUB_BITS;
    if (bucket < 2 * per_octave)
        return bucket;
    unsigned shift = bucket / per_octave - 1;
    uint64_t mantissa = bucket - (uint64_t)shift * per_octave;
    return ((mantissa + 1) << shift) - 1;
}

uint64_t histogram_quantile_ns(const struct histogram *h, double q)
{
    if (h->total == 0)
        return 0;
    uint64_t rank = (uint64_t)(q * (double)(h->total - 1));
    uint64_t seen = 0;
    for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++) {
        seen += h->counts[i];
        if (seen > rank) {
            uint64_t upper = bucket_upper_ns(i);
            return upper < h->max_ns ? upper : h->max_ns;
        }
    }
    return h->max_ns;
}
