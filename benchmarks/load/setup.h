/* Opening every session of a run.
 *
 * Responsible for: which sessions a run needs, handshakes (upgrade, HELLO, WELCOME, SNAPSHOT), subscriptions, and
 * knowing that they are in force. Must not know: load, measuring.
 *
 * SUBSCRIBE has no acknowledgement, but a router handles one session's messages in order, so the PONG to a PING sent
 * after the last SUBSCRIBE tells that all of them are in force.
 */
#ifndef CLASPLOAD_SETUP_H
#define CLASPLOAD_SETUP_H

#include "bench.h"

/* Allocates the sessions; nothing is opened yet. */
void setup_plan(struct bench *b);

/* Starts further connections as long as few enough handshakes are under way. */
void setup_open_more(struct bench *b);

/* A session's socket became writable for the first time. */
void setup_connected(struct session *s);

/* A frame for a session that is not ready yet; length 0: the upgrade is done. */
void setup_frame(struct session *s, const uint8_t *frame, size_t length);

/* Arms or disarms EPOLLOUT after a flush; notes a lost connection. */
void session_flush(struct session *s);
void session_gone(struct session *s);

#endif
