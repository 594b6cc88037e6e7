/* Writes down what a process does to its LMDB file: every write with its bytes, every sync, with the time.
 *
 * Preloaded into the daemon (LD_PRELOAD). LOSSY_TRACE names the file to append to; only files called data.mdb count.
 * From the trace, images are built of what a disk may hold after a power cut at any moment (cuts.py).
 *
 * Record: u64 nanoseconds (monotonic, before the call), u32 kind, u32 size, u64 offset, then `size` bytes.
 * Kinds: 1 write, 2 write through a descriptor that syncs each write, 3 sync begins, 4 sync done, 5 truncate (offset).
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <time.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <pthread.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int trace_fd = -2;

static int watched(int fd)
{
    char link[64], path[4096];
    ssize_t n;
    if (trace_fd == -2) {
        const char *name = getenv("LOSSY_TRACE");
        trace_fd = name ? open(name, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600) : -1;
    }
    if (trace_fd < 0)
        return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    n = readlink(link, path, sizeof path - 1);
    return n > 9 && memcmp(path + n - 9, "/data.mdb", 9) == 0;
}

static void note(uint32_t kind, uint64_t offset, const struct iovec *parts, int count)
{
    struct timespec now;
    struct { uint64_t ns; uint32_t kind, size; uint64_t offset; } head;
    struct iovec out[66];
    size_t size = 0;
    int i;
    clock_gettime(CLOCK_MONOTONIC, &now);
    for (i = 0; i < count && i < 65; i++) {
        out[i + 1] = parts[i];
        size += parts[i].iov_len;
    }
    head.ns = (uint64_t)now.tv_sec * 1000000000u + now.tv_nsec;
    head.kind = kind;
    head.size = (uint32_t)size;
    head.offset = offset;
    out[0].iov_base = &head;
    out[0].iov_len = sizeof head;
    if (syscall(SYS_writev, trace_fd, out, count + 1) != (ssize_t)(sizeof head + size))
        abort();
}

static uint32_t kind_of(int fd)
{
    return fcntl(fd, F_GETFL) & O_DSYNC ? 2 : 1;
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

ssize_t pwrite(int fd, const void *data, size_t size, off_t offset)
{
    ssize_t done;
    struct iovec part = { (void *)data, size };
    if (!watched(fd))
        return REAL(pwrite)(fd, data, size, offset);
    pthread_mutex_lock(&lock);
    note(kind_of(fd), offset, &part, 1);
    done = REAL(pwrite)(fd, data, size, offset);
    if (kind_of(fd) == 2)
        note(4, 1, NULL, 0);
    pthread_mutex_unlock(&lock);
    return done;
}

ssize_t pwrite64(int fd, const void *data, size_t size, off64_t offset)
{
    return pwrite(fd, data, size, offset);
}

ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t offset)
{
    ssize_t done;
    if (!watched(fd))
        return REAL(pwritev)(fd, parts, count, offset);
    pthread_mutex_lock(&lock);
    note(kind_of(fd), offset, parts, count);
    done = REAL(pwritev)(fd, parts, count, offset);
    pthread_mutex_unlock(&lock);
    return done;
}

ssize_t pwritev64(int fd, const struct iovec *parts, int count, off64_t offset)
{
    return pwritev(fd, parts, count, offset);
}

ssize_t write(int fd, const void *data, size_t size)
{
    ssize_t done;
    struct iovec part = { (void *)data, size };
    if (fd < 3 || fd == trace_fd || !watched(fd))
        return REAL(write)(fd, data, size);
    pthread_mutex_lock(&lock);
    note(kind_of(fd), lseek(fd, 0, SEEK_CUR), &part, 1);
    done = REAL(write)(fd, data, size);
    pthread_mutex_unlock(&lock);
    return done;
}

ssize_t writev(int fd, const struct iovec *parts, int count)
{
    ssize_t done;
    if (fd < 3 || fd == trace_fd || !watched(fd))
        return REAL(writev)(fd, parts, count);
    pthread_mutex_lock(&lock);
    note(kind_of(fd), lseek(fd, 0, SEEK_CUR), parts, count);
    done = REAL(writev)(fd, parts, count);
    pthread_mutex_unlock(&lock);
    return done;
}

static int synced(int fd, int (*real)(int))
{
    int done;
    if (!watched(fd))
        return real(fd);
    note(3, 0, NULL, 0);
    done = real(fd);
    if (done == 0)
        note(4, 0, NULL, 0);
    return done;
}

int fdatasync(int fd) { return synced(fd, REAL(fdatasync)); }
int fsync(int fd) { return synced(fd, REAL(fsync)); }

int ftruncate(int fd, off_t size)
{
    if (watched(fd))
        note(5, size, NULL, 0);
    return REAL(ftruncate)(fd, size);
}

int ftruncate64(int fd, off64_t size) { return ftruncate(fd, size); }
