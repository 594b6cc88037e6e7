/* What the parts of the load generator share: sessions, their counters, and the run as a whole.
 *
 * Responsible for: these structures only.
 */
#ifndef CLASPLOAD_BENCH_H
#define CLASPLOAD_BENCH_H

#include "histogram.h"
#include "link.h"
#include "options.h"

enum role { ROLE_PUBLISHER, ROLE_SUBSCRIBER, ROLE_SLOW, ROLE_EXTRA, ROLE_IDLE };
enum stage { STAGE_NEW, STAGE_CONNECTING, STAGE_HELLO, STAGE_WELCOMED, STAGE_SUBSCRIBED, STAGE_READY, STAGE_GONE };

struct session {
    struct link link;
    const struct language *language;
    enum role role;
    enum stage stage;
    int index;            /* among its role */
    bool wants_write;     /* EPOLLOUT is armed */
    int nonmatching;      /* how many extra subscriptions it opens, the first of them number first_nonmatching */
    int first_nonmatching;
    int64_t *last_stamp;  /* subscribers: newest stamp seen, by publisher */
    struct bench *bench;
};

struct publisher {
    struct session *session;
    uint8_t frame[WIRE_MAX_SMALL]; /* a finished frame; only digits and value change */
    size_t frame_length, digits_at, stamp_at, id_at;
    uint64_t quota;                /* messages it may send in this phase, UINT64_MAX: no bound */
    int64_t sent, acked, delivered;
    int64_t written_off_acks, written_off_deliveries; /* given up on, so that a lossy router cannot stall the window */
    int64_t last_stamp;
    uint32_t next_address, random;
    uint64_t *ack_ring;            /* send time by message number modulo the window, for ACK latency */
};

struct error_count {
    uint16_t code;
    uint64_t count;
    char text[80];
};

enum { MAX_ERROR_CODES = 16 };

struct counters {
    uint64_t sent, acked, delivered, duplicates, out_of_order, unstamped, undecodable, errors, stalls, late;
    uint64_t disconnects, slow_disconnects, slow_bytes;
    struct error_count error_codes[MAX_ERROR_CODES];
    struct histogram delivery_ns, ack_ns;
};

struct bench {
    struct options options;
    struct sockaddr_in address, mqtt_address;
    struct sockaddr_in hear_address;      /* of subscribers that speak CLASP */
    const char *prefix;        /* of addresses in CLASP: where MQTT's topics are when both are spoken */
    int epoll;
    struct session *sessions;
    int session_count, ready, gone, opened;
    struct publisher *publishers;
    int matching;              /* deliveries expected for one message */
    char (*address_digits)[6]; /* the number of every address, as text */
    struct counters counters;
    uint64_t now_ns;           /* read once per pass */
    uint64_t phase_start_ns, last_progress_ns;
    bool sending;
    uint64_t rate_sent;
    uint64_t slow_tick_ns;
};

#endif
