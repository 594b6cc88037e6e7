/* CPU time and memory of another process. See process.h. */
#define _GNU_SOURCE
#include "process.h"

#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

uint64_t clock_now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* Clock ticks of /proc/PID/stat: 10 ms resolution, for kernels that refuse the CPU clock of another process. */
static int64_t stat_cpu_ns(pid_t pid)
{
    char path[64], line[1024];
    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    FILE *f = fopen(path, "r");
    if (!f)
        return -1;
    size_t n = fread(line, 1, sizeof line - 1, f);
    fclose(f);
    line[n] = 0;
    const char *after_name = strrchr(line, ')'); /* the name may hold spaces and brackets */
    unsigned long user, system;
    if (!after_name ||
        sscanf(after_name + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user, &system) != 2)
        return -1;
    return (int64_t)(user + system) * (1000000000 / sysconf(_SC_CLK_TCK));
}

int64_t process_cpu_ns(pid_t pid)
{
    clockid_t clock;
    struct timespec t;
    if (clock_getcpuclockid(pid, &clock) == 0 && clock_gettime(clock, &t) == 0)
        return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
    return stat_cpu_ns(pid);
}

void process_memory_kib(pid_t pid, int64_t *rss, int64_t *peak)
{
    char path[64], line[256];
    long kib;
    *rss = *peak = -1;
    snprintf(path, sizeof path, "/proc/%d/status", (int)pid);
    FILE *f = fopen(path, "r");
    if (!f)
        return;
    while (fgets(line, sizeof line, f)) {
        if (sscanf(line, "VmRSS: %ld", &kib) == 1)
            *rss = kib;
        else if (sscanf(line, "VmHWM: %ld", &kib) == 1)
            *peak = kib;
    }
    fclose(f);
}
