/* One non-blocking connection: CLASP frames over WebSocket or raw TCP with a length prefix, or MQTT packets.
 *
 * Responsible for: connecting, the HTTP upgrade, cutting received bytes into frames or packets, wrapping frames to send,
 * joined writes. Must not know: what is in a frame, sessions, epoll.
 *
 * Client frames are masked with the key 0, which RFC 6455 allows and which costs the sender nothing; a server undoes
 * the mask as it would any other. The Sec-WebSocket-Accept header is not verified: this talks to routers under test.
 */
#ifndef CLASPLOAD_LINK_H
#define CLASPLOAD_LINK_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "framing.h"

enum link_state { LINK_CONNECTING, LINK_UPGRADING, LINK_OPEN, LINK_CLOSED };

struct link {
    int fd;
    enum link_state state;
    enum link_framing framing;
    uint16_t close_code;   /* of the peer's WebSocket close frame, 0 if none came */
    uint8_t *out;          /* bytes accepted for sending: out[out_head .. out_tail) */
    size_t out_head, out_tail, out_size;
    uint8_t *rest;         /* the beginning of a frame whose end has not arrived */
    size_t rest_length, rest_size;
};

/* Called for every whole frame or packet, and once with length 0 when the upgrade is done; bytes are only valid during
 * the call. */
typedef void link_frame_fn(void *owner, const uint8_t *frame, size_t length);

/* Starts to connect. rcvbuf_bytes 0 leaves the kernel's auto-tuning alone, which beats a fixed size on a loopback.
 * False (errno set) when no socket is to be had. */
bool link_connect(struct link *l, const struct sockaddr_in *to, enum link_framing framing, int rcvbuf_bytes);

/* The connection attempt ended (socket became writable): starts the upgrade or opens. False: refused. */
bool link_connected(struct link *l);

/* Reads once and hands over what is whole. False: the connection has ended (state LINK_CLOSED). */
bool link_read(struct link *l, link_frame_fn *on_frame, void *owner);

/* Makes room for one frame at the end of the send buffer, writes its wrapping and returns where its bytes go. */
uint8_t *link_append(struct link *l, size_t frame_length);

static inline void link_send(struct link *l, const uint8_t *frame, size_t length)
{
    __builtin_memcpy(link_append(l, length), frame, length);
}

/* Writes what is pending; false when the connection has ended. */
bool link_flush(struct link *l);

static inline size_t link_pending(const struct link *l)
{
    return l->out_tail - l->out_head;
}

void link_close(struct link *l);

#endif
