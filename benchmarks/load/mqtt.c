/* MQTT packets of a load generator. See mqtt.h. */
#include "mqtt.h"

#include <stdio.h>
#include <string.h>

enum {
    CONNECT = 0x10,
    CONNACK = 0x20,
    PUBLISH = 0x30,
    PUBACK = 0x40,
    SUBSCRIBE = 0x82,
    PINGREQ = 0xC0,
    PINGRESP = 0xD0,
    VERSION_311 = 4,
    CLEAN_SESSION = 0x02,
    MAX_LENGTH_BYTES = 4,
    MAX_SHORT_BODY = 127, /* everything sent here is shorter, so that its length takes one byte */
};

static uint8_t *put_text(uint8_t *p, const char *text)
{
    size_t n = strlen(text);
    p[0] = (uint8_t)(n >> 8);
    p[1] = (uint8_t)n;
    memcpy(p + 2, text, n);
    return p + 2 + n;
}

static size_t close_packet(uint8_t *out, const uint8_t *end, unsigned kind)
{
    out[0] = (uint8_t)kind;
    out[1] = (uint8_t)(end - out - 2);
    return end - out - 2 <= MAX_SHORT_BODY ? (size_t)(end - out) : 0;
}

static size_t hello(uint8_t *out, const char *name, int number)
{
    char client[32];
    snprintf(client, sizeof client, "%.10s%d", name, number);
    uint8_t *p = put_text(out + 2, "MQTT");
    *p++ = VERSION_311;
    *p++ = CLEAN_SESSION;
    *p++ = 0; /* no keep alive */
    *p++ = 0;
    return close_packet(out, put_text(p, client), CONNECT);
}

static size_t subscribe(uint8_t *out, uint32_t id, const char *pattern, enum load_kind kind)
{
    char filter[MAX_SHORT_BODY];
    size_t n = 0;
    for (const char *c = pattern + 1; *c && n < sizeof filter - 1; c++) {
        if (c[0] == '*' && c[1] == '*') {
            filter[n++] = '#';
            c++;
        } else {
            filter[n++] = *c == '*' ? '+' : *c;
        }
    }
    filter[n] = 0;
    out[2] = (uint8_t)(id >> 8);
    out[3] = (uint8_t)id;
    uint8_t *p = put_text(out + 4, filter);
    *p++ = kind == KIND_QOS1;
    return close_packet(out, p, SUBSCRIBE);
}

static size_t ping(uint8_t *out)
{
    return close_packet(out, out + 2, PINGREQ);
}

static size_t sample(uint8_t *out, enum load_kind kind, const char *address, struct sample *where)
{
    where->address_at = 4;
    uint8_t *p = put_text(out + 2, address + 1);
    where->id_at = 0;
    if (kind == KIND_QOS1) {
        where->id_at = (size_t)(p - out);
        p += 2;
    }
    where->stamp_at = (size_t)(p - out);
    return close_packet(out, p + WIRE_STAMP_DIGITS, kind == KIND_QOS1 ? PUBLISH | 2 : PUBLISH);
}

static void put_stamp(uint8_t *out, int64_t stamp)
{
    uint64_t v = (uint64_t)stamp + WIRE_STAMP_OFFSET;
    for (int i = WIRE_STAMP_DIGITS - 1; i >= 0; i--) {
        out[i] = (uint8_t)('0' + v % 10);
        v /= 10;
    }
}

static bool get_stamp(const uint8_t *p, size_t n, int64_t *stamp)
{
    uint64_t v = 0;
    if (n == 0 || n > WIRE_STAMP_DIGITS)
        return false;
    for (size_t i = 0; i < n; i++) {
        if (p[i] < '0' || p[i] > '9')
            return false;
        v = v * 10 + (p[i] - '0');
    }
    *stamp = (int64_t)(v >= WIRE_STAMP_OFFSET ? v - WIRE_STAMP_OFFSET : v);
    return true;
}

ptrdiff_t mqtt_packet_length(const uint8_t *p, size_t n)
{
    size_t length = 0;
    for (size_t i = 1; i < n; i++) {
        if (i > MAX_LENGTH_BYTES)
            return -1;
        length |= (size_t)(p[i] & 0x7F) << (7 * (i - 1));
        if (!(p[i] & 0x80))
            return n >= i + 1 + length ? (ptrdiff_t)(i + 1 + length) : 0;
    }
    return 0;
}

size_t mqtt_puback(uint8_t *out, uint16_t packet_id)
{
    out[2] = (uint8_t)(packet_id >> 8);
    out[3] = (uint8_t)packet_id;
    return close_packet(out, out + 4, PUBACK);
}

static bool read_publish(const uint8_t *p, const uint8_t *end, unsigned qos, struct wire_message *m)
{
    m->type = WIRE_PUBLISH;
    if (end - p < 2)
        return false;
    m->address_length = (uint16_t)(p[0] << 8 | p[1]);
    m->address = p + 2;
    p += 2 + m->address_length;
    if (end - p < (qos ? 2 : 0))
        return false;
    if (qos) {
        m->packet_id = (uint16_t)(p[0] << 8 | p[1]);
        p += 2;
    }
    m->has_stamp = get_stamp(p, (size_t)(end - p), &m->stamp);
    return true;
}

static bool read_packet(const uint8_t *packet, size_t length, struct wire_message *m)
{
    const uint8_t *p = packet + 1, *end = packet + length;
    while (*p++ & 0x80)
        ;
    m->has_stamp = false;
    m->packet_id = 0;
    switch (packet[0] & 0xF0) {
    case PUBLISH:
        return read_publish(p, end, packet[0] >> 1 & 3, m);
    case PUBACK:
        m->type = WIRE_ACK;
        return true;
    case PINGRESP:
        m->type = WIRE_PONG;
        return true;
    case CONNACK:
        if (end - p < 2)
            return false;
        m->type = p[1] ? WIRE_ERROR : WIRE_WELCOME;
        m->error_code = p[1];
        m->error_text = (const uint8_t *)"CONNACK";
        m->error_text_length = 7;
        return true;
    default: /* SUBACK: the PINGRESP that follows it is waited for */
        m->type = 0;
        return true;
    }
}

const struct language mqtt_language = {
    .framing = FRAMING_MQTT,
    .welcome_is_last = true,
    .hello = hello,
    .subscribe = subscribe,
    .ping = ping,
    .sample = sample,
    .put_stamp = put_stamp,
    .read = read_packet,
};
