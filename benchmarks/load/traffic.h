/* Making load and counting what comes back.
 *
 * Responsible for: what each publisher may send now (window, open loop, rate), stamping messages, counting ACKs,
 * deliveries, errors and latencies. Must not know: handshakes, the event loop, output.
 */
#ifndef CLASPLOAD_TRAFFIC_H
#define CLASPLOAD_TRAFFIC_H

#include "bench.h"

/* Zeroes all counters and begins a phase of count messages (0: unbounded). */
void traffic_begin(struct bench *b, uint64_t count);

/* Sends what may be sent now. True: some publisher could go on at once. */
bool traffic_pump(struct bench *b);

/* All quotas are sent. */
bool traffic_all_sent(const struct bench *b);

/* Everything that was sent is acknowledged (SET) and delivered. */
bool traffic_settled(const struct bench *b);

/* Gives up on what is in flight, so that windowed publishers go on. */
void traffic_write_off(struct bench *b);

/* A frame for a session that is ready. */
void traffic_frame(struct session *s, const uint8_t *frame, size_t length);

/* Lets slow subscribers read what they may read by now. */
void traffic_read_slowly(struct bench *b);

/* When the next message of a fixed rate is due, in ns from now; 0: at once. */
uint64_t traffic_next_due_ns(const struct bench *b);

#endif
