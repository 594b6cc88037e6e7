/* How long the rounds of a process's event loop take: CPU time of its first thread from one wait for events to the next.
 *
 * Preloaded into a router (LD_PRELOAD). ROUNDS_OUT names the file that always has the longest round in milliseconds and
 * how many took more than ten. CPU time, so that other programs on the machine change little.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static double began_ms, told_ms, longest_ms;
static long rounds, long_ones;

static double now_ms(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return t.tv_sec * 1e3 + t.tv_nsec / 1e6;
}

static void tell(void)
{
    char next[4096], reset[4096];
    const char *path = getenv("ROUNDS_OUT");
    FILE *file;
    if (!path)
        return;
    snprintf(reset, sizeof reset, "%s.reset", path);
    if (unlink(reset) == 0) {
        rounds = long_ones = 0;
        longest_ms = 0;
    }
    snprintf(next, sizeof next, "%s.next", path);
    if ((file = fopen(next, "w")) == NULL)
        return;
    fprintf(file, "%.3f %ld %ld\n", longest_ms, long_ones, rounds);
    fclose(file);
    rename(next, path);
}

static int is_first_thread(void) { return getpid() == syscall(SYS_gettid); }

static void ends(void)
{
    double took_ms, at_ms;
    if (!is_first_thread())
        return;
    if (began_ms > 0) {
        took_ms = now_ms(CLOCK_THREAD_CPUTIME_ID) - began_ms;
        rounds++;
        long_ones += took_ms > 10;
        if (took_ms > longest_ms)
            longest_ms = took_ms;
    }
    at_ms = now_ms(CLOCK_MONOTONIC);
    if (at_ms - told_ms > 100) {
        told_ms = at_ms;
        tell();
    }
}

static void begins(void)
{
    if (is_first_thread())
        began_ms = now_ms(CLOCK_THREAD_CPUTIME_ID);
}

int epoll_pwait(int fd, struct epoll_event *events, int most, int timeout, const sigset_t *mask)
{
    static int (*real)(int, struct epoll_event *, int, int, const sigset_t *);
    int found;
    if (!real)
        real = dlsym(RTLD_NEXT, "epoll_pwait");
    ends();
    found = real(fd, events, most, timeout, mask);
    begins();
    return found;
}

int epoll_wait(int fd, struct epoll_event *events, int most, int timeout)
{
    return epoll_pwait(fd, events, most, timeout, NULL);
}
