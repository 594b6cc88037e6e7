/* Command line of the load generator.
 *
 * Responsible for: parsing and checking options, the help text. Must not know: sockets, how load is made.
 */
#ifndef CLASPLOAD_OPTIONS_H
#define CLASPLOAD_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "wire.h"

enum load_mode { MODE_WINDOW, MODE_OPEN, MODE_RATE };
enum window_by { BY_ACK, BY_DELIVERY, BY_BOTH };

struct options {
    const char *host;
    int port;
    int mqtt_port;
    int hear_port;          /* of subscribers that speak CLASP; 0 = port */
    bool raw_tcp;
    bool hear_mqtt;         /* subscribers speak MQTT; publishers do where the kind is one of its own */
    int osc_port;           /* publishers send OSC messages there, not CLASP */
    int publishers, subscribers, idle, slow;
    enum load_kind kind;
    enum load_mode mode;
    enum window_by window_by;
    int window;             /* messages in flight per publisher */
    double rate;            /* messages per second over all publishers */
    uint64_t count;         /* messages over all publishers; 0: bounded by duration only */
    double duration_s;      /* 0: bounded by count only */
    uint64_t warmup;        /* messages before the measured phase, all publishers together */
    int addresses;          /* per publisher */
    bool random_order;
    bool partition;         /* publisher p is heard by subscriber p mod S only */
    const char *pattern;
    int nonmatching;        /* extra subscriptions that match no address in use */
    int max_subscriptions;  /* per session; further ones open further sessions */
    double slow_bytes_s;    /* what each slow subscriber reads; 0: nothing */
    double drain_s;         /* longest wait for outstanding deliveries */
    double hold_s;          /* keep everything open that long after the load, idle */
    pid_t server_pid;
};

/* Exits with status 2 and a clear line on a bad option. */
void options_parse(struct options *o, int argc, char **argv);

const char *kind_name(enum load_kind kind);
const char *mode_name(enum load_mode mode);

#endif
