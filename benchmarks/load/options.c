/* Command line. See options.h. */
#define _GNU_SOURCE
#include "options.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    MAX_ADDRESSES = 1000000, /* six digits in the address text */
    MAX_PUBLISHERS = 1000,   /* three digits */
    MAX_PACKET_IDS = 65535,
};

static const char help[] =
    "claspload: load for a CLASP router; prints one JSON object\n"
    "\n"
    "  --host ADDR            IPv4 address (127.0.0.1)\n"
    "  --port N               port (7330)\n"
    "  --hear-port N          port of subscribers that speak CLASP (--port): another router of a federation\n"
    "  --mqtt-port N          port of sessions that speak MQTT (1883)\n"
    "  --tcp                  raw TCP with a length prefix instead of WebSocket\n"
    "  --publishers N         (1)\n"
    "  --subscribers N        each subscribed to --pattern (1)\n"
    "  --kind set|event|stream|qos0|qos1  SET is sent with QoS Confirm (set); the last two publish over MQTT\n"
    "  --hear clasp|mqtt      what subscribers speak (what publishers do); CLASP sees MQTT's topics below /mqtt\n"
    "  --osc-port N           publishers send OSC datagrams to this port instead; addresses are /osc/bench/...\n"
    "  --window N             at most N messages in flight per publisher (500)\n"
    "  --window-by ack|delivery|both  what ends a message's flight (ack for set and qos1, else delivery)\n"
    "  --open                 open loop: as fast as the sockets take it; needs a bounded --count\n"
    "  --rate R               R messages/s over all publishers, latency counted from the intended time\n"
    "  --ping-pong            --window 1 --window-by both\n"
    "  --count N              messages over all publishers\n"
    "  --duration S           seconds (3 unless --count is given)\n"
    "  --warmup N             messages before the measured phase\n"
    "  --addresses N          /bench/PPP/NNNNNN, N per publisher, in turn (10)\n"
    "  --random               addresses in random order\n"
    "  --pattern P            (/bench/**)\n"
    "  --partition            subscriber s hears publisher p only where p mod S = s\n"
    "  --nonmatching N        extra subscriptions that match nothing, spread over the subscribers\n"
    "  --max-subscriptions N  per session, more open extra sessions (1000)\n"
    "  --idle N               extra silent sessions with one subscription each\n"
    "  --slow N               extra subscribers that read --slow-bytes per second (0)\n"
    "  --slow-bytes B         (0: they read nothing at all)\n"
    "  --drain S              longest wait for outstanding deliveries (30)\n"
    "  --hold S               stay connected and idle after the load, then read the server's memory again\n"
    "  --server-pid PID       measure that process's CPU time and memory\n";

enum option_id {
    OPT_HOST = 256, OPT_PORT, OPT_TCP, OPT_PUBLISHERS, OPT_SUBSCRIBERS, OPT_KIND, OPT_WINDOW, OPT_WINDOW_BY, OPT_OPEN,
    OPT_RATE, OPT_PING_PONG, OPT_COUNT, OPT_DURATION, OPT_WARMUP, OPT_ADDRESSES, OPT_RANDOM, OPT_PATTERN,
    OPT_PARTITION, OPT_NONMATCHING, OPT_MAX_SUBSCRIPTIONS, OPT_IDLE, OPT_SLOW, OPT_SLOW_BYTES, OPT_DRAIN, OPT_HOLD,
    OPT_SERVER_PID, OPT_OSC_PORT, OPT_MQTT_PORT, OPT_HEAR, OPT_HEAR_PORT, OPT_HELP,
};

static const struct option long_options[] = {
    {"host", required_argument, NULL, OPT_HOST},
    {"port", required_argument, NULL, OPT_PORT},
    {"tcp", no_argument, NULL, OPT_TCP},
    {"publishers", required_argument, NULL, OPT_PUBLISHERS},
    {"subscribers", required_argument, NULL, OPT_SUBSCRIBERS},
    {"kind", required_argument, NULL, OPT_KIND},
    {"window", required_argument, NULL, OPT_WINDOW},
    {"window-by", required_argument, NULL, OPT_WINDOW_BY},
    {"open", no_argument, NULL, OPT_OPEN},
    {"rate", required_argument, NULL, OPT_RATE},
    {"ping-pong", no_argument, NULL, OPT_PING_PONG},
    {"count", required_argument, NULL, OPT_COUNT},
    {"duration", required_argument, NULL, OPT_DURATION},
    {"warmup", required_argument, NULL, OPT_WARMUP},
    {"addresses", required_argument, NULL, OPT_ADDRESSES},
    {"random", no_argument, NULL, OPT_RANDOM},
    {"pattern", required_argument, NULL, OPT_PATTERN},
    {"partition", no_argument, NULL, OPT_PARTITION},
    {"nonmatching", required_argument, NULL, OPT_NONMATCHING},
    {"max-subscriptions", required_argument, NULL, OPT_MAX_SUBSCRIPTIONS},
    {"idle", required_argument, NULL, OPT_IDLE},
    {"slow", required_argument, NULL, OPT_SLOW},
    {"slow-bytes", required_argument, NULL, OPT_SLOW_BYTES},
    {"drain", required_argument, NULL, OPT_DRAIN},
    {"hold", required_argument, NULL, OPT_HOLD},
    {"server-pid", required_argument, NULL, OPT_SERVER_PID},
    {"osc-port", required_argument, NULL, OPT_OSC_PORT},
    {"mqtt-port", required_argument, NULL, OPT_MQTT_PORT},
    {"hear", required_argument, NULL, OPT_HEAR},
    {"hear-port", required_argument, NULL, OPT_HEAR_PORT},
    {"help", no_argument, NULL, OPT_HELP},
    {NULL, 0, NULL, 0},
};

static _Noreturn void refuse(const char *what, const char *value)
{
    fprintf(stderr, "claspload: %s%s%s\n", what, value ? ": " : "", value ? value : "");
    exit(2);
}

static double number(const char *text, double low, double high)
{
    char *end;
    errno = 0;
    double v = strtod(text, &end);
    if (errno || end == text || *end || v < low || v > high)
        refuse("not a number in the allowed range", text);
    return v;
}

static int integer(const char *text, double low, double high)
{
    return (int)number(text, low, high);
}

/* The place of text in a NULL-terminated list of names. */
static int choice(const char *text, const char *const *names)
{
    for (int i = 0; names[i]; i++)
        if (strcmp(text, names[i]) == 0)
            return i;
    refuse("unknown choice", text);
}

static const char *const kinds[] = {"set", "event", "stream", "osc", "qos0", "qos1", NULL};
static const char *const languages[] = {"clasp", "mqtt", NULL};
static const char *const modes[] = {"window", "open", "rate", NULL};
static const char *const window_bys[] = {"ack", "delivery", "both", NULL};

const char *kind_name(enum load_kind kind)
{
    return kinds[kind];
}

const char *mode_name(enum load_mode mode)
{
    return modes[mode];
}

static void parse_one(struct options *o, int id, const char *arg, int *window_by, int *hear)
{
    switch ((enum option_id)id) {
    case OPT_HOST: o->host = arg; break;
    case OPT_PORT: o->port = integer(arg, 1, 65535); break;
    case OPT_TCP: o->raw_tcp = true; break;
    case OPT_PUBLISHERS: o->publishers = integer(arg, 0, MAX_PUBLISHERS); break;
    case OPT_SUBSCRIBERS: o->subscribers = integer(arg, 0, 1e5); break;
    case OPT_KIND: o->kind = (enum load_kind)choice(arg, kinds); break;
    case OPT_WINDOW: o->mode = MODE_WINDOW; o->window = integer(arg, 1, 1e6); break;
    case OPT_WINDOW_BY: *window_by = choice(arg, window_bys); break;
    case OPT_OPEN: o->mode = MODE_OPEN; break;
    case OPT_RATE: o->mode = MODE_RATE; o->rate = number(arg, 0.001, 1e8); break;
    case OPT_PING_PONG: o->mode = MODE_WINDOW; o->window = 1; *window_by = BY_BOTH; break;
    case OPT_COUNT: o->count = (uint64_t)number(arg, 0, 1e12); break;
    case OPT_DURATION: o->duration_s = number(arg, 0.001, 1e6); break;
    case OPT_WARMUP: o->warmup = (uint64_t)number(arg, 0, 1e12); break;
    case OPT_ADDRESSES: o->addresses = integer(arg, 1, MAX_ADDRESSES); break;
    case OPT_RANDOM: o->random_order = true; break;
    case OPT_PATTERN: o->pattern = arg; break;
    case OPT_PARTITION: o->partition = true; break;
    case OPT_NONMATCHING: o->nonmatching = integer(arg, 0, 1e7); break;
    case OPT_MAX_SUBSCRIPTIONS: o->max_subscriptions = integer(arg, 1, 1e7); break;
    case OPT_IDLE: o->idle = integer(arg, 0, 1e5); break;
    case OPT_SLOW: o->slow = integer(arg, 0, 1000); break;
    case OPT_SLOW_BYTES: o->slow_bytes_s = number(arg, 0, 1e9); break;
    case OPT_DRAIN: o->drain_s = number(arg, 0, 3600); break;
    case OPT_HOLD: o->hold_s = number(arg, 0, 86400); break;
    case OPT_SERVER_PID: o->server_pid = integer(arg, 1, 1 << 22); break;
    case OPT_OSC_PORT: o->osc_port = integer(arg, 1, 65535); o->kind = KIND_OSC; o->pattern = "/osc/bench/**"; break;
    case OPT_MQTT_PORT: o->mqtt_port = integer(arg, 1, 65535); break;
    case OPT_HEAR: *hear = choice(arg, languages); break;
    case OPT_HEAR_PORT: o->hear_port = integer(arg, 1, 65535); break;
    case OPT_HELP: fputs(help, stdout); exit(0);
    }
}

void options_parse(struct options *o, int argc, char **argv)
{
    int window_by = -1, hear = -1, id;
    *o = (struct options){
        .host = "127.0.0.1", .port = 7330, .mqtt_port = 1883, .publishers = 1, .subscribers = 1, .kind = KIND_SET,
        .mode = MODE_WINDOW, .window = 500, .addresses = 10, .pattern = "/bench/**", .max_subscriptions = 1000,
        .drain_s = 30,
    };
    while ((id = getopt_long(argc, argv, "", long_options, NULL)) != -1) {
        if (id == '?')
            exit(2);
        parse_one(o, id, optarg, &window_by, &hear);
    }
    if (optind < argc)
        refuse("not an option", argv[optind]);
    if (o->duration_s == 0 && o->count == 0)
        o->duration_s = 3;
    o->window_by = window_by >= 0 ? (enum window_by)window_by : kind_acknowledged(o->kind) ? BY_ACK : BY_DELIVERY;
    o->hear_mqtt = hear >= 0 ? hear == 1 : kind_is_mqtt(o->kind);
    if (o->subscribers == 0 && o->window_by == BY_BOTH && kind_acknowledged(o->kind))
        o->window_by = BY_ACK;
    if (!kind_acknowledged(o->kind) && o->window_by == BY_BOTH)
        o->window_by = BY_DELIVERY; /* all other kinds are never acknowledged */
    if (o->publishers && o->mode == MODE_OPEN && o->count == 0)
        refuse("an open loop needs --count: nothing else bounds what is queued on the way", NULL);
    if (o->publishers && o->mode == MODE_WINDOW && !kind_acknowledged(o->kind) && o->window_by == BY_ACK)
        refuse("only SETs and QoS 1 are acknowledged: use --window-by delivery", NULL);
    if (o->publishers && o->mode == MODE_WINDOW && o->window_by != BY_ACK && o->subscribers == 0)
        refuse("a window over deliveries needs a subscriber", NULL);
    if (o->kind == KIND_QOS1 && o->mode == MODE_WINDOW && o->window > MAX_PACKET_IDS)
        refuse("a window at QoS 1 has at most 65535 messages", NULL);
}
