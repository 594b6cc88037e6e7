/* CLASP frames of a load generator. See wire.h. */
#include "wire.h"

#include <string.h>

enum {
    MAGIC = 0x53,
    COMPACT = 0x01,          /* frame flags: encoding version 1 */
    QOS_CONFIRM = 0x40,      /* without it a router need not acknowledge a SET */
    FLAG_TIMESTAMP = 0x20,
    VALUE_I64 = 0x05,
    SIGNAL_EVENT = 0x20,     /* signal type code in bits 7-5 of PUBLISH's flags */
    SIGNAL_STREAM = 0x40,
    ALL_FEATURES = 0xF8,
    ALL_TYPES = 0xFF,
};

static uint8_t *put16(uint8_t *p, size_t v)
{
    p[0] = (uint8_t)(v >> 8);
    p[1] = (uint8_t)v;
    return p + 2;
}

static uint8_t *put_string(uint8_t *p, const char *text)
{
    size_t n = strlen(text);
    p = put16(p, n);
    memcpy(p, text, n);
    return p + n;
}

static size_t close_frame(uint8_t *frame, const uint8_t *end, unsigned flags)
{
    frame[0] = MAGIC;
    frame[1] = (uint8_t)flags;
    put16(frame + 2, (size_t)(end - frame) - 4);
    return (size_t)(end - frame);
}

static size_t hello(uint8_t *out, const char *name, int number)
{
    (void)number;
    uint8_t *p = out + 4;
    *p++ = WIRE_HELLO;
    *p++ = 1;
    *p++ = ALL_FEATURES;
    p = put_string(p, name);
    p = put_string(p, ""); /* no token */
    return close_frame(out, p, COMPACT);
}

static size_t subscribe(uint8_t *out, uint32_t id, const char *pattern, enum load_kind kind)
{
    (void)kind;
    uint8_t *p = out + 4;
    *p++ = WIRE_SUBSCRIBE;
    p = put16(p, id >> 16);
    p = put16(p, id & 0xFFFF);
    p = put_string(p, pattern);
    *p++ = ALL_TYPES;
    *p++ = 0; /* no options */
    return close_frame(out, p, COMPACT | QOS_CONFIRM);
}

static size_t ping(uint8_t *out)
{
    out[4] = WIRE_PING;
    return close_frame(out, out + 5, COMPACT);
}

static size_t sample(uint8_t *out, enum load_kind kind, const char *address, struct sample *where)
{
    uint8_t *p = out + 4;
    *p++ = kind == KIND_SET ? WIRE_SET : WIRE_PUBLISH;
    *p++ = kind == KIND_SET ? VALUE_I64 : kind == KIND_EVENT ? SIGNAL_EVENT : SIGNAL_STREAM;
    where->id_at = 0;
    where->address_at = (size_t)(p - out) + 2;
    p = put_string(p, address);
    if (kind != KIND_SET) {
        *p++ = 1; /* indicator: one value */
        *p++ = VALUE_I64;
    }
    where->stamp_at = (size_t)(p - out);
    wire_put64(p, 0);
    return close_frame(out, p + 8, kind == KIND_STREAM ? COMPACT : COMPACT | QOS_CONFIRM);
}

static size_t get16(const uint8_t *p)
{
    return (size_t)p[0] << 8 | p[1];
}

static int64_t get64(const uint8_t *p)
{
    uint64_t v;
    memcpy(&v, p, 8);
    return (int64_t)__builtin_bswap64(v);
}

static bool read_value(const uint8_t *p, const uint8_t *end, unsigned type, struct wire_message *m)
{
    m->has_stamp = type == VALUE_I64 && end - p >= 8;
    if (m->has_stamp)
        m->stamp = get64(p);
    if (m->has_stamp && m->stamp >= (int64_t)WIRE_STAMP_OFFSET)
        m->stamp -= (int64_t)WIRE_STAMP_OFFSET; /* it has come from MQTT */
    return true;
}

static bool read_frame(const uint8_t *frame, size_t length, struct wire_message *m)
{
    if (length < 5 || frame[0] != MAGIC)
        return false;
    size_t header = frame[1] & FLAG_TIMESTAMP ? 12 : 4;
    size_t payload = get16(frame + 2);
    if (payload == 0 || length < header + payload)
        return false;
    const uint8_t *p = frame + header, *end = p + payload;
    m->type = *p++;
    m->has_stamp = false;
    m->packet_id = 0;
    if (m->type != WIRE_SET && m->type != WIRE_PUBLISH && m->type != WIRE_ERROR)
        return true;
    if (end - p < 3)
        return false;
    if (m->type == WIRE_ERROR) {
        if (end - p < 4)
            return false;
        m->error_code = (uint16_t)get16(p);
        size_t text = get16(p + 2);
        if ((size_t)(end - p) < 4 + text)
            return false;
        m->error_text = p + 4;
        m->error_text_length = (uint16_t)text;
        return true;
    }
    unsigned flags = *p++;
    size_t address = get16(p);
    p += 2;
    if ((size_t)(end - p) < address)
        return false;
    m->address = p;
    m->address_length = (uint16_t)address;
    p += address;
    if (m->type == WIRE_SET)
        return read_value(p, end, flags & 0x0F, m);
    if (end - p < 2 || p[0] != 1)
        return true;
    return read_value(p + 2, end, p[1], m);
}

static void put_stamp(uint8_t *out, int64_t stamp)
{
    wire_put64(out, (uint64_t)stamp);
}

const struct language clasp_language = {
    .framing = FRAMING_WEBSOCKET,
    .hello = hello,
    .subscribe = subscribe,
    .ping = ping,
    .sample = sample,
    .put_stamp = put_stamp,
    .read = read_frame,
};
