/* The result of a run as one JSON object.
 *
 * Responsible for: names and units of the output. Must not know: how the numbers came about.
 */
#ifndef CLASPLOAD_REPORT_H
#define CLASPLOAD_REPORT_H

#include "bench.h"

struct measurement {
    uint64_t wall_ns;                                 /* first send to last delivery or ACK */
    uint64_t send_ns;                                 /* first to last send */
    uint64_t setup_ns;                                /* opening all sessions */
    int64_t server_cpu_ns, own_cpu_ns;                /* during wall_ns; -1: unknown */
    int64_t rss_start_kib, rss_ready_kib, rss_end_kib, rss_peak_kib; /* before connecting, all ready, at the end */
};

void report_print(const struct bench *b, const struct measurement *m);

#endif
