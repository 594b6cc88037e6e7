/* The few CLASP messages a load generator speaks, compact binary encoding only.
 *
 * Responsible for: bytes of HELLO, SUBSCRIBE, PING, SET and PUBLISH frames; reading the fields of received frames
 * that matter for counting. Must not know: WebSocket, sockets, who sends what when.
 */
#ifndef CLASPLOAD_WIRE_H
#define CLASPLOAD_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum wire_type {
    WIRE_HELLO = 0x01,
    WIRE_WELCOME = 0x02,
    WIRE_SUBSCRIBE = 0x10,
    WIRE_PUBLISH = 0x20,
    WIRE_SET = 0x21,
    WIRE_SNAPSHOT = 0x23,
    WIRE_PING = 0x41,
    WIRE_PONG = 0x42,
    WIRE_ACK = 0x50,
    WIRE_ERROR = 0x51,
};

enum load_kind { KIND_SET, KIND_EVENT, KIND_STREAM };

enum { WIRE_MAX_SMALL = 512 }; /* no frame built here is longer */

/* Each writes one whole frame to out (at least WIRE_MAX_SMALL bytes) and returns its length. */
size_t wire_hello(uint8_t *out, const char *name);
size_t wire_subscribe(uint8_t *out, uint32_t id, const char *pattern);
size_t wire_ping(uint8_t *out);

/* A SET or PUBLISH frame whose value is an i64; *address_at and *stamp_at are where its address text and its value
 * lie, so that a sender can copy the frame and overwrite just these. */
size_t wire_sample(uint8_t *out, enum load_kind kind, const char *address, size_t *address_at, size_t *stamp_at);

struct wire_message {
    uint8_t type;
    const uint8_t *address; /* SET and PUBLISH only */
    uint16_t address_length;
    bool has_stamp; /* the value was an i64 */
    int64_t stamp;
    uint16_t error_code; /* ERROR only */
    const uint8_t *error_text;
    uint16_t error_text_length;
};

/* False when the bytes are not a whole, sensible frame. */
bool wire_read(const uint8_t *frame, size_t length, struct wire_message *m);

static inline void wire_put64(uint8_t *out, uint64_t v)
{
    v = __builtin_bswap64(v);
    __builtin_memcpy(out, &v, 8);
}

#endif
