/* Load and counting. See traffic.h. */
#define _GNU_SOURCE
#include "traffic.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "mqtt.h"
#include "osc.h"
#include "process.h"
#include "setup.h"

enum {
    MAX_PACKET_IDS = 65535,
    BATCH_BYTES = 64 * 1024,           /* joined into one write; more would only age the stamps */
    RATE_BACKLOG_BYTES = 1024 * 1024,  /* a fixed rate waits for a router that does not keep up this far */
    PUBLISHER_DIGITS_BACK = 10,        /* in "/bench/PPP/NNNNNN", from its end: a namespace may stand before it */
};

void traffic_begin(struct bench *b, uint64_t count)
{
    memset(&b->counters, 0, sizeof b->counters);
    uint64_t n = (uint64_t)b->options.publishers;
    for (uint64_t i = 0; i < n; i++) {
        struct publisher *p = &b->publishers[i];
        p->quota = count ? count / n + (i < count % n) : UINT64_MAX;
        p->sent = p->acked = p->delivered = p->written_off_acks = p->written_off_deliveries = 0;
    }
    b->rate_sent = 0;
    b->now_ns = clock_now_ns();
    b->phase_start_ns = b->last_progress_ns = b->slow_tick_ns = b->now_ns;
    b->sending = true;
}

static uint32_t next_address(struct publisher *p, const struct options *o)
{
    if (o->random_order) {
        uint32_t x = p->random; /* xorshift32 */
        x ^= x << 13;
        x ^= x >> 17;
        x ^= x << 5;
        p->random = x;
        return (uint32_t)((uint64_t)x * (uint32_t)o->addresses >> 32);
    }
    uint32_t n = p->next_address++;
    if (p->next_address == (uint32_t)o->addresses)
        p->next_address = 0;
    return n;
}

static void send_one(struct bench *b, struct publisher *p, uint64_t stamp_ns)
{
    /* Stamps of one publisher grow strictly, so a subscriber can tell duplicates and disorder. */
    int64_t stamp = (int64_t)stamp_ns > p->last_stamp ? (int64_t)stamp_ns : p->last_stamp + 1;
    p->last_stamp = stamp;
    memcpy(p->frame + p->digits_at, b->address_digits[next_address(p, &b->options)], 6);
    p->session->language->put_stamp(p->frame + p->stamp_at, stamp);
    if (p->id_at) {
        unsigned id = (unsigned)(p->sent % MAX_PACKET_IDS) + 1;
        p->frame[p->id_at] = (uint8_t)(id >> 8);
        p->frame[p->id_at + 1] = (uint8_t)id;
    }
    if (b->options.kind == KIND_OSC)
        osc_put(p->frame, p->frame_length);
    else
        link_send(&p->session->link, p->frame, p->frame_length);
    if (p->ack_ring)
        p->ack_ring[p->sent % b->options.window] = (uint64_t)stamp;
    p->sent++;
}

static int64_t free_window(const struct bench *b, const struct publisher *p)
{
    int64_t in_flight = 0;
    if (b->options.window_by != BY_DELIVERY)
        in_flight = p->sent - p->acked - p->written_off_acks;
    if (b->options.window_by != BY_ACK) {
        int64_t outstanding = p->sent * b->matching - p->delivered - p->written_off_deliveries;
        int64_t messages = (outstanding + b->matching - 1) / b->matching;
        if (messages > in_flight)
            in_flight = messages;
    }
    return b->options.window - in_flight;
}

static bool pump_publisher(struct bench *b, struct publisher *p)
{
    size_t pending = link_pending(&p->session->link);
    if (p->session->stage != STAGE_READY || pending >= BATCH_BYTES)
        return false;
    uint64_t left = p->quota - (uint64_t)p->sent;
    uint64_t n = (BATCH_BYTES - pending) / (p->frame_length + 8) + 1;
    if (n > left)
        n = left;
    if (b->options.mode == MODE_WINDOW) {
        int64_t window = free_window(b, p);
        if (window <= 0)
            return false;
        if (n > (uint64_t)window)
            n = (uint64_t)window;
    }
    if (n == 0)
        return false;
    uint64_t stamp = clock_now_ns();
    for (uint64_t i = 0; i < n; i++)
        send_one(b, p, stamp);
    b->counters.sent += n;
    if (b->options.kind == KIND_OSC)
        osc_flush();
    else
        session_flush(p->session);
    return b->options.mode == MODE_OPEN && n < left && link_pending(&p->session->link) < BATCH_BYTES;
}

static uint64_t rate_due(const struct bench *b)
{
    double elapsed_s = (double)(b->now_ns - b->phase_start_ns) * 1e-9;
    return (uint64_t)(elapsed_s * b->options.rate) + 1; /* the first is due at once */
}

static bool pump_rate(struct bench *b)
{
    uint64_t due = rate_due(b), publishers = (uint64_t)b->options.publishers;
    double interval_ns = 1e9 / b->options.rate;
    while (b->rate_sent < due) {
        struct publisher *p = &b->publishers[b->rate_sent % publishers];
        if ((uint64_t)p->sent >= p->quota)
            break;
        if (p->session->stage == STAGE_READY) {
            if (link_pending(&p->session->link) > RATE_BACKLOG_BYTES)
                break;
            send_one(b, p, b->phase_start_ns + (uint64_t)((double)b->rate_sent * interval_ns));
            b->counters.sent++;
        }
        b->rate_sent++;
    }
    if (b->options.kind == KIND_OSC)
        osc_flush();
    for (uint64_t i = 0; i < publishers; i++)
        if (link_pending(&b->publishers[i].session->link) && !b->publishers[i].session->wants_write)
            session_flush(b->publishers[i].session);
    return false;
}

bool traffic_pump(struct bench *b)
{
    if (b->options.mode == MODE_RATE)
        return pump_rate(b);
    bool more = false;
    for (int i = 0; i < b->options.publishers; i++)
        more |= pump_publisher(b, &b->publishers[i]);
    return more;
}

uint64_t traffic_next_due_ns(const struct bench *b)
{
    uint64_t at = b->phase_start_ns + (uint64_t)((double)b->rate_sent * 1e9 / b->options.rate);
    return at > b->now_ns ? at - b->now_ns : 0;
}

bool traffic_all_sent(const struct bench *b)
{
    for (int i = 0; i < b->options.publishers; i++) {
        const struct publisher *p = &b->publishers[i];
        if (p->session->stage == STAGE_READY && ((uint64_t)p->sent < p->quota || link_pending(&p->session->link)))
            return false;
    }
    return true;
}

bool traffic_settled(const struct bench *b)
{
    const struct counters *c = &b->counters;
    bool acked = !kind_acknowledged(b->options.kind) || c->acked >= c->sent;
    return acked && c->delivered >= c->sent * (uint64_t)b->matching;
}

void traffic_write_off(struct bench *b)
{
    for (int i = 0; i < b->options.publishers; i++) {
        struct publisher *p = &b->publishers[i];
        p->written_off_acks = p->sent - p->acked;
        p->written_off_deliveries = p->sent * b->matching - p->delivered;
    }
    b->counters.stalls++;
    b->last_progress_ns = b->now_ns;
}

static void count_error(struct counters *c, const struct wire_message *m)
{
    c->errors++;
    for (int i = 0; i < MAX_ERROR_CODES; i++) {
        struct error_count *e = &c->error_codes[i];
        if (e->count == 0) {
            size_t n = m->error_text_length < sizeof e->text - 1 ? m->error_text_length : sizeof e->text - 1;
            e->code = m->error_code;
            memcpy(e->text, m->error_text, n);
            e->text[n] = 0;
        }
        if (e->code == m->error_code) {
            e->count++;
            return;
        }
    }
}

static void count_delivery(struct session *s, const struct wire_message *m)
{
    struct bench *b = s->bench;
    struct counters *c = &b->counters;
    if (!m->has_stamp || m->address_length < PUBLISHER_DIGITS_BACK) {
        c->unstamped++;
        return;
    }
    const uint8_t *digits = m->address + m->address_length - PUBLISHER_DIGITS_BACK;
    int number = (digits[0] - '0') * 100 + (digits[1] - '0') * 10 + (digits[2] - '0');
    if (number < 0 || number >= b->options.publishers) {
        c->unstamped++;
        return;
    }
    if (m->stamp < (int64_t)b->phase_start_ns) { /* sent before this phase */
        c->late++;
        return;
    }
    int64_t *last = &s->last_stamp[number];
    if (m->stamp == *last) {
        c->duplicates++;
        return;
    }
    if (m->stamp < *last)
        c->out_of_order++;
    else
        *last = m->stamp;
    c->delivered++;
    b->publishers[number].delivered++;
    b->last_progress_ns = b->now_ns;
    int64_t latency = (int64_t)b->now_ns - m->stamp;
    histogram_add(&c->delivery_ns, latency > 0 ? (uint64_t)latency : 0);
}

static void count_ack(struct session *s)
{
    struct bench *b = s->bench;
    struct publisher *p = &b->publishers[s->index];
    if (p->acked >= p->sent) {
        b->counters.late++;
        return;
    }
    if (p->ack_ring && b->counters.stalls == 0)
        histogram_add(&b->counters.ack_ns, b->now_ns - p->ack_ring[p->acked % b->options.window]);
    p->acked++;
    b->counters.acked++;
    b->last_progress_ns = b->now_ns;
}

void traffic_frame(struct session *s, const uint8_t *frame, size_t length)
{
    struct wire_message m;
    if (!s->language->read(frame, length, &m)) {
        s->bench->counters.undecodable++;
        return;
    }
    switch (m.type) {
    case WIRE_SET:
    case WIRE_PUBLISH:
        if (m.packet_id) /* the event loop flushes when all that was read has been looked at */
            mqtt_puback(link_append(&s->link, 4), m.packet_id);
        if (s->role == ROLE_SUBSCRIBER)
            count_delivery(s, &m);
        else
            s->bench->counters.unstamped++;
        break;
    case WIRE_ACK:
        if (s->role == ROLE_PUBLISHER)
            count_ack(s);
        break;
    case WIRE_ERROR:
        count_error(&s->bench->counters, &m);
        break;
    default:
        break;
    }
}

void traffic_read_slowly(struct bench *b)
{
    static uint8_t discard[64 * 1024];
    double allowed = b->options.slow_bytes_s * (double)(b->now_ns - b->slow_tick_ns) * 1e-9;
    if (b->options.slow == 0 || allowed < 1)
        return;
    b->slow_tick_ns = b->now_ns;
    for (int i = 0; i < b->session_count; i++) {
        struct session *s = &b->sessions[i];
        if (s->role != ROLE_SLOW || s->stage != STAGE_READY)
            continue;
        ssize_t n = recv(s->link.fd, discard, allowed < sizeof discard ? (size_t)allowed : sizeof discard, 0);
        if (n > 0)
            b->counters.slow_bytes += (uint64_t)n;
        else if (n == 0 || (errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR)) {
            link_close(&s->link);
            session_gone(s);
        }
    }
}
