/* A wall clock that a test can set: preloaded into a process, it adds to the system's what the first number of a shared
 * file says (nanoseconds), and answers adjtimex(2) by the second one (0: the system's answer, 1: synchronised, 2: not).
 * Clocks that only go forward are left alone. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <sys/timex.h>
#include <time.h>
#include <unistd.h>

static const int64_t none[2];
static const volatile int64_t *shared = none;

__attribute__((constructor)) static void attach(void) {
    const char *path = getenv("TEST_CLOCK_FILE");
    int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (fd < 0) return;
    void *page = mmap(NULL, sizeof none, PROT_READ, MAP_SHARED, fd, 0);
    close(fd);
    if (page != MAP_FAILED) shared = page;
}

int clock_gettime(clockid_t id, struct timespec *at) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real) real = dlsym(RTLD_NEXT, "clock_gettime");
    int status = real(id, at);
    if (status == 0 && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE)) {
        int64_t ns = at->tv_sec * 1000000000LL + at->tv_nsec + shared[0];
        at->tv_sec = ns / 1000000000LL;
        at->tv_nsec = ns % 1000000000LL;
    }
    return status;
}

int gettimeofday(struct timeval *restrict at, void *restrict zone) {
    struct timespec now;
    (void)zone;
    clock_gettime(CLOCK_REALTIME, &now);
    at->tv_sec = now.tv_sec;
    at->tv_usec = now.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *at) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (at) *at = now.tv_sec;
    return now.tv_sec;
}

int adjtimex(struct timex *state) {
    static int (*real)(struct timex *);
    if (!real) real = dlsym(RTLD_NEXT, "adjtimex");
    int status = real(state);
    if (status >= 0 && shared[1] == 1) { state->status &= ~STA_UNSYNC; status = TIME_OK; }
    if (status >= 0 && shared[1] == 2) { state->status |= STA_UNSYNC; status = TIME_ERROR; }
    return status;
}
