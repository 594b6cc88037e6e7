/* Load generator for CLASP routers and MQTT brokers: one epoll loop, one thread, one JSON object at the end.
 *
 * Responsible for: the event loop and the phases of a run (open sessions, warm up, measure, drain, hold).
 * Must not know: frames, bytes on the wire, how the output looks.
 *
 * One pass: publishers send what they may as one joined write each, then every readable socket is read once. The
 * clock is read once per pass and once per batch, so a run costs far less than any router it measures.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "bench.h"
#include "osc.h"
#include "process.h"
#include "report.h"
#include "setup.h"
#include "traffic.h"

enum {
    EVENTS_PER_PASS = 256,
};
static const uint64_t SECOND_NS = 1000000000u;
static const uint64_t TICK_NS = 5000000u;         /* longest sleep: deadlines and slow readers are looked at */
static const uint64_t QUIET_NS = 1000000000u;     /* nothing for that long after the last send: what is missing is lost */
static const uint64_t LINGER_NS = 50000000u;      /* after all has arrived, for duplicates */
static const uint64_t SETUP_QUIET_NS = 30 * 1000000000ull;

static void on_frame(void *owner, const uint8_t *frame, size_t length)
{
    struct session *s = owner;
    if (s->stage == STAGE_READY)
        traffic_frame(s, frame, length);
    else
        setup_frame(s, frame, length);
}

static void on_event(struct session *s, uint32_t events)
{
    if (s->stage == STAGE_GONE)
        return;
    if (s->link.state == LINK_CONNECTING) {
        setup_connected(s);
        return;
    }
    if (events & (EPOLLIN | EPOLLHUP | EPOLLERR)) {
        s->bench->now_ns = clock_now_ns();
        if (!link_read(&s->link, on_frame, s)) {
            session_gone(s);
            return;
        }
        if (s->language->framing == FRAMING_MQTT && link_pending(&s->link) && !s->wants_write)
            session_flush(s); /* acknowledgements of what was read */
    }
    if (events & EPOLLOUT && s->stage != STAGE_GONE)
        session_flush(s);
}

static int pass(struct bench *b, uint64_t wait_ns)
{
    struct epoll_event events[EVENTS_PER_PASS];
    struct timespec wait = {.tv_sec = (time_t)(wait_ns / SECOND_NS), .tv_nsec = (long)(wait_ns % SECOND_NS)};
    int n = epoll_pwait2(b->epoll, events, EVENTS_PER_PASS, &wait, NULL);
    if (n < 0 && errno != EINTR) {
        perror("claspload: epoll_pwait2");
        exit(1);
    }
    b->now_ns = clock_now_ns();
    for (int i = 0; i < n; i++)
        on_event(events[i].data.ptr, events[i].events);
    traffic_read_slowly(b);
    return n;
}

static void open_sessions(struct bench *b)
{
    int seen = 0;
    uint64_t last = clock_now_ns();
    while (b->ready < b->session_count) {
        setup_open_more(b);
        pass(b, TICK_NS);
        if (b->ready != seen) {
            seen = b->ready;
            last = b->now_ns;
        } else if (b->now_ns - last > SETUP_QUIET_NS) {
            fprintf(stderr, "claspload: only %d of %d sessions became ready\n", b->ready, b->session_count);
            exit(1);
        }
    }
}

/* Sends until count or end_ns; returns the time of the last send. */
static uint64_t send_phase(struct bench *b, uint64_t end_ns)
{
    while (!traffic_all_sent(b) && b->now_ns < end_ns) {
        bool more = traffic_pump(b);
        uint64_t wait = more ? 0 : TICK_NS;
        if (b->options.mode == MODE_RATE) {
            uint64_t due = traffic_next_due_ns(b);
            wait = due < wait ? due : wait;
        }
        pass(b, wait);
        if (b->options.mode == MODE_WINDOW && b->now_ns > b->last_progress_ns + QUIET_NS)
            traffic_write_off(b);
    }
    b->sending = false;
    return b->now_ns;
}

static void drain(struct bench *b)
{
    uint64_t last_send = b->now_ns, end = b->now_ns + (uint64_t)(b->options.drain_s * 1e9);
    while (b->now_ns < end && !traffic_settled(b)) {
        pass(b, TICK_NS);
        uint64_t quiet_since = b->last_progress_ns > last_send ? b->last_progress_ns : last_send;
        if (b->now_ns > quiet_since + QUIET_NS)
            break;
    }
}

static void idle_for(struct bench *b, uint64_t ns)
{
    uint64_t end = clock_now_ns() + ns;
    while (b->now_ns < end)
        pass(b, TICK_NS);
}

static void warm_up(struct bench *b)
{
    enum load_mode mode = b->options.mode;
    if (b->options.warmup == 0 || b->options.publishers == 0)
        return;
    /* An open loop or a rate is warmed up without a bound on what is in flight, too: the count bounds it. */
    b->options.mode = mode == MODE_RATE ? MODE_OPEN : mode;
    traffic_begin(b, b->options.warmup);
    send_phase(b, UINT64_MAX);
    drain(b);
    idle_for(b, LINGER_NS);
    b->options.mode = mode;
}

static void measure(struct bench *b, struct measurement *m)
{
    const struct options *o = &b->options;
    int64_t peak;
    warm_up(b);
    process_memory_kib(o->server_pid, &m->rss_ready_kib, &peak);
    int64_t server = process_cpu_ns(o->server_pid), own = process_cpu_ns(getpid());
    traffic_begin(b, o->count);
    if (o->publishers) {
        uint64_t end = o->duration_s > 0 ? b->phase_start_ns + (uint64_t)(o->duration_s * 1e9) : UINT64_MAX;
        m->send_ns = send_phase(b, end) - b->phase_start_ns;
        drain(b);
    }
    int64_t server_end = process_cpu_ns(o->server_pid);
    m->server_cpu_ns = server >= 0 && server_end >= 0 ? server_end - server : -1;
    m->own_cpu_ns = process_cpu_ns(getpid()) - own;
    m->wall_ns = b->last_progress_ns - b->phase_start_ns;
    if (m->wall_ns < m->send_ns && b->matching == 0 && !kind_acknowledged(o->kind))
        m->wall_ns = m->send_ns; /* nothing comes back from an event without a subscriber */
    idle_for(b, LINGER_NS + (uint64_t)(o->hold_s * 1e9));
    process_memory_kib(o->server_pid, &m->rss_end_kib, &m->rss_peak_kib);
}

int main(int argc, char **argv)
{
    static struct bench b;
    struct measurement m = {.server_cpu_ns = -1};
    struct rlimit files;
    int64_t peak;

    options_parse(&b.options, argc, argv);
    signal(SIGPIPE, SIG_IGN);
    prctl(PR_SET_TIMERSLACK, 1ul); /* a fixed rate must not wait 50 us too long */
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max;
        setrlimit(RLIMIT_NOFILE, &files);
    }
    b.address.sin_family = AF_INET;
    b.address.sin_port = htons((uint16_t)b.options.port);
    if (inet_pton(AF_INET, b.options.host, &b.address.sin_addr) != 1) {
        fprintf(stderr, "claspload: --host takes an IPv4 address, not %s\n", b.options.host);
        return 2;
    }
    b.hear_address = b.address;
    if (b.options.hear_port)
        b.hear_address.sin_port = htons((uint16_t)b.options.hear_port);
    b.mqtt_address = b.address;
    b.mqtt_address.sin_port = htons((uint16_t)b.options.mqtt_port);
    if (b.options.osc_port) {
        struct sockaddr_in to = b.address;
        to.sin_port = htons((uint16_t)b.options.osc_port);
        osc_open(&to);
    }
    b.epoll = epoll_create1(EPOLL_CLOEXEC);
    setup_plan(&b);
    process_memory_kib(b.options.server_pid, &m.rss_start_kib, &peak);
    uint64_t start = clock_now_ns();
    open_sessions(&b);
    m.setup_ns = clock_now_ns() - start;
    measure(&b, &m);
    report_print(&b, &m);
    return 0;
}
