/* Opening the sessions. See setup.h. */
#define _GNU_SOURCE
#include "setup.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

#include "mqtt.h"
#include "osc.h"

enum {
    MAX_HANDSHAKES = 64,           /* stays below the backlog of any listener */
    SLOW_RCVBUF_BYTES = 8 * 1024,  /* so that not reading is felt soon */
    MATCHING_ID = 1,
    NONMATCHING_ID = 1000,
};

static bool speaks_mqtt(const struct options *o, enum role role)
{
    return role == ROLE_PUBLISHER ? kind_is_mqtt(o->kind) : o->hear_mqtt;
}

static struct session *add(struct bench *b, enum role role, int index)
{
    struct session *s = &b->sessions[b->session_count++];
    s->role = role;
    s->index = index;
    s->bench = b;
    s->link.fd = -1;
    s->language = speaks_mqtt(&b->options, role) ? &mqtt_language : &clasp_language;
    return s;
}

static void plan_subscribers(struct bench *b)
{
    const struct options *o = &b->options;
    int left = o->nonmatching, number = 0;
    for (int i = 0; i < o->subscribers; i++) {
        struct session *s = add(b, ROLE_SUBSCRIBER, i);
        int share = (left + o->subscribers - i - 1) / (o->subscribers - i);
        s->nonmatching = share < o->max_subscriptions - 1 ? share : o->max_subscriptions - 1;
        s->first_nonmatching = number;
        s->last_stamp = calloc((size_t)o->publishers + 1, sizeof *s->last_stamp);
        left -= s->nonmatching;
        number += s->nonmatching;
    }
    for (int i = 0; left > 0; i++) {
        struct session *s = add(b, ROLE_EXTRA, i);
        s->nonmatching = left < o->max_subscriptions ? left : o->max_subscriptions;
        s->first_nonmatching = number;
        left -= s->nonmatching;
        number += s->nonmatching;
    }
}

static const char *prefix(const struct session *s)
{
    return s->language == &clasp_language ? s->bench->prefix : "";
}

static void plan_frame(struct bench *b, struct publisher *p, int number)
{
    const struct language *language = p->session->language;
    struct sample where = {0};
    char address[64];
    snprintf(address, sizeof address, "%s/bench/%03d/000000", prefix(p->session), number);
    if (b->options.kind == KIND_OSC)
        p->frame_length = osc_sample(p->frame, address, &where.address_at, &where.stamp_at);
    else
        p->frame_length = language->sample(p->frame, b->options.kind, address, &where);
    size_t digits = strlen(address) - strlen("000000");
    p->digits_at = where.address_at + digits - (language == &mqtt_language); /* a topic has no slash before it */
    p->stamp_at = where.stamp_at;
    p->id_at = where.id_at;
}

void setup_plan(struct bench *b)
{
    const struct options *o = &b->options;
    b->prefix = kind_is_mqtt(o->kind) != o->hear_mqtt ? "/mqtt" : "";
    int extra = o->nonmatching / o->max_subscriptions + 1;
    size_t most = (size_t)(o->publishers + o->subscribers + o->slow + o->idle + extra);
    b->sessions = calloc(most, sizeof *b->sessions);
    b->publishers = calloc((size_t)o->publishers + 1, sizeof *b->publishers);
    b->address_digits = calloc((size_t)o->addresses, sizeof *b->address_digits);
    if (!b->sessions || !b->publishers || !b->address_digits)
        abort();
    for (int i = 0; i < o->addresses; i++) {
        char text[16];
        snprintf(text, sizeof text, "%06d", i);
        memcpy(b->address_digits[i], text, 6);
    }
    plan_subscribers(b);
    for (int i = 0; i < o->slow; i++)
        add(b, ROLE_SLOW, i);
    for (int i = 0; i < o->idle; i++)
        add(b, ROLE_IDLE, i);
    for (int i = 0; i < o->publishers; i++) {
        struct publisher *p = &b->publishers[i];
        p->session = add(b, ROLE_PUBLISHER, i);
        p->random = 2463534242u + (uint32_t)i;
        p->ack_ring = o->mode == MODE_WINDOW ? calloc((size_t)o->window, sizeof *p->ack_ring) : NULL;
        plan_frame(b, p, i);
    }
    b->matching = o->partition ? o->subscribers > 0 : o->subscribers;
}

void session_gone(struct session *s)
{
    struct bench *b = s->bench;
    if (s->stage == STAGE_GONE)
        return;
    if (s->role == ROLE_SLOW)
        b->counters.slow_disconnects++;
    else
        b->counters.disconnects++;
    if (s->stage != STAGE_READY) {
        fprintf(stderr, "claspload: session %d ended during its handshake (%s, close code %d)\n",
                (int)(s - b->sessions), strerror(errno), s->link.close_code);
        exit(1);
    }
    s->stage = STAGE_GONE;
    b->gone++;
}

static void watch(struct session *s, int operation, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.ptr = s};
    if (epoll_ctl(s->bench->epoll, operation, s->link.fd, &event) < 0) {
        perror("claspload: epoll_ctl");
        exit(1);
    }
}

void session_flush(struct session *s)
{
    if (s->link.state == LINK_CLOSED || !link_flush(&s->link)) {
        session_gone(s);
        return;
    }
    bool wants = link_pending(&s->link) > 0;
    if (wants != s->wants_write) {
        s->wants_write = wants;
        watch(s, EPOLL_CTL_MOD, wants ? EPOLLIN | EPOLLOUT : EPOLLIN);
    }
}

void setup_open_more(struct bench *b)
{
    while (b->opened < b->session_count && b->opened - b->ready < MAX_HANDSHAKES) {
        struct session *s = &b->sessions[b->opened++];
        bool mqtt = s->language == &mqtt_language;
        enum link_framing framing = !mqtt && b->options.raw_tcp ? FRAMING_LENGTH : s->language->framing;
        if (!link_connect(&s->link, mqtt ? &b->mqtt_address : s->role == ROLE_SUBSCRIBER ? &b->hear_address : &b->address, framing,
                          s->role == ROLE_SLOW ? SLOW_RCVBUF_BYTES : 0)) {
            perror("claspload: connect");
            exit(1);
        }
        s->stage = STAGE_CONNECTING;
        s->wants_write = true;
        watch(s, EPOLL_CTL_ADD, EPOLLIN | EPOLLOUT);
    }
}

static void send_hello(struct session *s)
{
    static const char *const names[] = {"publisher", "subscriber", "slow subscriber", "extra", "idle"};
    uint8_t frame[WIRE_MAX_SMALL];
    int number = (int)(s - s->bench->sessions);
    link_send(&s->link, frame, s->language->hello(frame, names[s->role], number));
    s->stage = STAGE_HELLO;
    session_flush(s);
}

void setup_connected(struct session *s)
{
    if (!link_connected(&s->link)) {
        session_gone(s);
        return;
    }
    if (s->link.state == LINK_OPEN)
        send_hello(s);
    else
        session_flush(s);
}

/* Patterns that must be looked at and do not match: other branches, near misses, and both wildcards. */
static void nonmatching_pattern(char *out, size_t size, int number)
{
    static const char *const forms[] = {"/other/%d/*", "/bench/n%d", "/bench/*/n%d", "/stage/*/n%d/**"};
    snprintf(out, size, forms[number % 4], number);
}

static void ask_for(struct session *s, uint32_t id, const char *pattern)
{
    uint8_t frame[WIRE_MAX_SMALL];
    char whole[128];
    snprintf(whole, sizeof whole, "%s%s", prefix(s), pattern);
    link_send(&s->link, frame, s->language->subscribe(frame, id, whole, s->bench->options.kind));
}

static void subscribe(struct session *s)
{
    const struct options *o = &s->bench->options;
    uint8_t frame[WIRE_MAX_SMALL];
    char pattern[64];
    if (s->role == ROLE_SUBSCRIBER && o->partition) {
        uint32_t id = MATCHING_ID;
        for (int p = s->index; p < o->publishers; p += o->subscribers) {
            snprintf(pattern, sizeof pattern, "/bench/%03d/**", p);
            ask_for(s, id++, pattern);
        }
    } else if (s->role == ROLE_SUBSCRIBER || s->role == ROLE_SLOW) {
        ask_for(s, MATCHING_ID, o->pattern);
    } else if (s->role == ROLE_IDLE) {
        snprintf(pattern, sizeof pattern, "/idle/%d/*", s->index);
        ask_for(s, MATCHING_ID, pattern);
    }
    for (int i = 0; i < s->nonmatching; i++) {
        nonmatching_pattern(pattern, sizeof pattern, s->first_nonmatching + i);
        ask_for(s, (uint32_t)(NONMATCHING_ID + i), pattern);
    }
    link_send(&s->link, frame, s->language->ping(frame));
    s->stage = STAGE_SUBSCRIBED;
    session_flush(s);
}

static void ready(struct session *s)
{
    struct bench *b = s->bench;
    s->stage = STAGE_READY;
    b->ready++;
    if (s->role == ROLE_SLOW) /* read by the clock instead */
        epoll_ctl(b->epoll, EPOLL_CTL_DEL, s->link.fd, NULL);
}

void setup_frame(struct session *s, const uint8_t *frame, size_t length)
{
    struct wire_message m;
    if (length == 0) {
        send_hello(s);
        return;
    }
    if (!s->language->read(frame, length, &m)) {
        s->bench->counters.undecodable++;
        return;
    }
    if (m.type == WIRE_ERROR) {
        fprintf(stderr, "claspload: the router refused the handshake: ERROR %u %.*s\n", m.error_code,
                (int)m.error_text_length, (const char *)m.error_text);
        exit(1);
    }
    if (m.type == WIRE_WELCOME && s->stage == STAGE_HELLO) {
        s->stage = STAGE_WELCOMED;
        if (s->language->welcome_is_last)
            subscribe(s);
    } else if (m.type == WIRE_SNAPSHOT && s->stage == STAGE_WELCOMED)
        subscribe(s);
    else if (m.type == WIRE_PONG && s->stage == STAGE_SUBSCRIBED)
        ready(s);
}
