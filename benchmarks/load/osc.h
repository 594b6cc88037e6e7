/* A sender of OSC messages over UDP: many datagrams in one system call.
 *
 * Responsible for: the bytes of one message, a batch of them, sending it. Must not know: sessions, windows, counting.
 */
#ifndef CLASPLOAD_OSC_H
#define CLASPLOAD_OSC_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { OSC_BATCH = 64 }; /* datagrams per system call */

/* Opens the socket all publishers send from. Exits with status 1 when there is none to be had. */
void osc_open(const struct sockaddr_in *to);

/* A message with one h (i64) argument; offsets as in wire_sample. Returns its length. */
size_t osc_sample(uint8_t *out, const char *address, size_t *address_at, size_t *stamp_at);

/* Adds a datagram to the batch, which is sent when it is full. */
void osc_put(const uint8_t *packet, size_t length);

/* Sends what is in the batch. */
void osc_flush(void);

#endif
