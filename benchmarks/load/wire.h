/* What a load generator says and understands, and its CLASP half (compact binary encoding only); mqtt.h is the other.
 *
 * Responsible for: the shape of a language; bytes of HELLO, SUBSCRIBE, PING, SET and PUBLISH frames; reading the fields of received frames
 * that matter for counting. Must not know: WebSocket, sockets, who sends what when.
 */
#ifndef CLASPLOAD_WIRE_H
#define CLASPLOAD_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "framing.h"

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

/* The last two are MQTT's. */
enum load_kind { KIND_SET, KIND_EVENT, KIND_STREAM, KIND_OSC, KIND_QOS0, KIND_QOS1 };

static inline bool kind_acknowledged(enum load_kind kind)
{
    return kind == KIND_SET || kind == KIND_QOS1;
}

static inline bool kind_is_mqtt(enum load_kind kind)
{
    return kind == KIND_QOS0 || kind == KIND_QOS1;
}

enum {
    WIRE_MAX_SMALL = 512,   /* no frame built here is longer */
    WIRE_STAMP_DIGITS = 19, /* a stamp written out in decimal */
};

/* Added to a stamp that is written out, so that every one has the same number of digits and the first is not 0: other
 * numbers would be texts to a router that gives payloads a type. Stamps themselves stay below it for 31 years. */
#define WIRE_STAMP_OFFSET 1000000000000000000u

/* Where in a finished frame the parts lie that change; id_at 0: there is no packet identifier. */
struct sample {
    size_t address_at, stamp_at, id_at;
};

struct wire_message {
    uint8_t type;
    const uint8_t *address; /* SET and PUBLISH only */
    uint16_t address_length;
    bool has_stamp; /* the value was an i64 */
    int64_t stamp;
    uint16_t packet_id;  /* to be acknowledged; 0: none */
    uint16_t error_code; /* ERROR only */
    const uint8_t *error_text;
    uint16_t error_text_length;
};

/* What a session speaks. Builders write one whole frame to out (at least WIRE_MAX_SMALL bytes) and return its length. */
struct language {
    enum link_framing framing;
    bool welcome_is_last; /* nothing follows the answer to hello */
    size_t (*hello)(uint8_t *out, const char *name, int number);
    size_t (*subscribe)(uint8_t *out, uint32_t id, const char *pattern, enum load_kind kind);
    size_t (*ping)(uint8_t *out);
    /* A frame that carries one number, so that a sender can copy it and overwrite just the parts that change. */
    size_t (*sample)(uint8_t *out, enum load_kind kind, const char *address, struct sample *where);
    void (*put_stamp)(uint8_t *out, int64_t stamp);
    /* False when the bytes are not a whole, sensible frame. */
    bool (*read)(const uint8_t *frame, size_t length, struct wire_message *m);
};

extern const struct language clasp_language;

static inline void wire_put64(uint8_t *out, uint64_t v)
{
    v = __builtin_bswap64(v);
    __builtin_memcpy(out, &v, 8);
}

#endif
