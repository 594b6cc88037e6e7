/* JSON output. See report.h. */
#include "report.h"

#include <stdio.h>

static void print_latency(const char *name, const struct histogram *h)
{
    static const struct { const char *name; double q; } quantiles[] = {
        {"p50", 0.50}, {"p90", 0.90}, {"p99", 0.99}, {"p99.9", 0.999},
    };
    printf(" \"%s\": {\"samples\": %llu, ", name, (unsigned long long)h->total);
    for (unsigned i = 0; i < sizeof quantiles / sizeof *quantiles; i++)
        printf("\"%s\": %.1f, ", quantiles[i].name, (double)histogram_quantile_ns(h, quantiles[i].q) * 1e-3);
    printf("\"max\": %.1f},\n", (double)h->max_ns * 1e-3);
}

static void print_text(const char *text)
{
    putchar('"');
    for (; *text; text++) {
        unsigned char c = (unsigned char)*text;
        if (c == '"' || c == '\\')
            printf("\\%c", c);
        else if (c >= 0x20 && c < 0x7F)
            putchar(c);
        else
            putchar('?');
    }
    putchar('"');
}

static void print_errors(const struct counters *c)
{
    printf(" \"errors\": {");
    for (int i = 0; i < MAX_ERROR_CODES && c->error_codes[i].count; i++) {
        const struct error_count *e = &c->error_codes[i];
        printf("%s\"%u\": {\"count\": %llu, \"text\": ", i ? ", " : "", e->code, (unsigned long long)e->count);
        print_text(e->text);
        putchar('}');
    }
    printf("},\n");
}

static void print_per(const char *name, int64_t cpu_ns, uint64_t n)
{
    if (cpu_ns < 0 || n == 0)
        printf(" \"%s\": null,\n", name);
    else
        printf(" \"%s\": %.4f,\n", name, (double)cpu_ns * 1e-3 / (double)n);
}

static void print_seconds(const char *name, int64_t ns)
{
    if (ns < 0)
        printf(" \"%s\": null,\n", name);
    else
        printf(" \"%s\": %.6f,\n", name, (double)ns * 1e-9);
}

static void print_count(const char *name, uint64_t n)
{
    printf(" \"%s\": %llu,\n", name, (unsigned long long)n);
}

static void print_kib(const char *name, int64_t kib, const char *end)
{
    if (kib < 0)
        printf(" \"%s\": null%s\n", name, end);
    else
        printf(" \"%s\": %lld%s\n", name, (long long)kib, end);
}

void report_print(const struct bench *b, const struct measurement *m)
{
    const struct counters *c = &b->counters;
    const struct options *o = &b->options;
    uint64_t expected = c->sent * (uint64_t)b->matching;
    double wall_s = m->wall_ns ? (double)m->wall_ns * 1e-9 : 1;
    uint64_t done = kind_acknowledged(o->kind) ? c->acked : b->matching ? c->delivered / (uint64_t)b->matching : c->sent;

    printf("{\n \"kind\": \"%s\",\n \"mode\": \"%s\",\n", kind_name(o->kind), mode_name(o->mode));
    printf(" \"publishers\": %d,\n \"subscribers\": %d,\n \"window\": %d,\n \"addresses\": %d,\n", o->publishers,
           o->subscribers, o->mode == MODE_WINDOW ? o->window : 0, o->addresses);
    printf(" \"sessions\": %d,\n \"nonmatching\": %d,\n", b->session_count, o->nonmatching);
    print_count("sent", c->sent);
    print_count("acked", c->acked);
    print_count("delivered", c->delivered);
    print_count("expected", expected);
    print_count("lost", expected > c->delivered ? expected - c->delivered : 0);
    print_count("unacked", kind_acknowledged(o->kind) ? c->sent - c->acked : 0);
    print_count("duplicates", c->duplicates);
    print_count("out_of_order", c->out_of_order);
    print_count("unstamped", c->unstamped);
    print_count("undecodable", c->undecodable);
    print_count("late", c->late);
    print_count("stalls", c->stalls);
    print_count("disconnects", c->disconnects);
    print_count("slow_disconnects", c->slow_disconnects);
    print_count("slow_bytes", c->slow_bytes);
    print_errors(c);
    print_latency("delivery_us", &c->delivery_ns);
    print_latency("ack_us", &c->ack_ns);
    /* Handled to the end (acknowledged, or delivered to all) per second; what was lost on the way does not count. */
    printf(" \"messages_per_s\": %.1f,\n", (double)done / wall_s);
    printf(" \"sent_per_s\": %.1f,\n", (double)c->sent / wall_s);
    printf(" \"deliveries_per_s\": %.1f,\n", (double)c->delivered / wall_s);
    print_seconds("wall_s", (int64_t)m->wall_ns);
    print_seconds("send_s", (int64_t)m->send_ns);
    print_seconds("setup_s", (int64_t)m->setup_ns);
    print_seconds("server_cpu_s", m->server_cpu_ns);
    print_seconds("load_cpu_s", m->own_cpu_ns);
    print_per("cpu_us_per_message", m->server_cpu_ns, c->sent);
    print_per("cpu_us_per_delivery", m->server_cpu_ns, c->delivered);
    print_kib("rss_start_kib", m->rss_start_kib, ",");
    print_kib("rss_ready_kib", m->rss_ready_kib, ",");
    print_kib("rss_end_kib", m->rss_end_kib, ",");
    print_kib("rss_peak_kib", m->rss_peak_kib, "");
    printf("}\n");
}
