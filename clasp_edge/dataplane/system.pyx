"""What Linux and its C library offer and Python does not: a timer on the wall clock, memory given back or not taken.

Here because it has to be compiled; `ctypes` could do it too, for 0.4 MB of memory.
"""

from libc.errno cimport errno
from libc.stdint cimport int64_t

import os

cdef extern from "<sys/timerfd.h>" nogil:
    struct timespec:
        long tv_sec
        long tv_nsec
    struct itimerspec:
        timespec it_interval
        timespec it_value
    int CLOCK_REALTIME, TFD_NONBLOCK, TFD_CLOEXEC, TFD_TIMER_ABSTIME, TFD_TIMER_CANCEL_ON_SET
    int c_create "timerfd_create"(int clock, int flags)
    int c_set "timerfd_settime"(int fd, int flags, const itimerspec* new, itimerspec* old)

cdef extern from *:
    """
    #include <malloc.h>
    #ifdef __GLIBC__
    #define give_back() malloc_trim(0)
    #define bound_heap() (mallopt(M_MMAP_THRESHOLD, 65536), mallopt(M_ARENA_MAX, 2))
    #else
    #define give_back() 0
    #define bound_heap() 0
    #endif
    """
    int give_back() nogil
    int bound_heap() nogil


cdef extern from "<sys/mman.h>" nogil:
    int MADV_DONTNEED
    int madvise(void* address, size_t size, int advice)


cdef extern from "<sys/prctl.h>" nogil:
    int PR_SET_THP_DISABLE
    int prctl(int option, unsigned long arg2, unsigned long arg3, unsigned long arg4, unsigned long arg5)


def wall_timer():
    """The descriptor of a timer on the wall clock (timerfd_create(2)), readable when its time has come. Raises
    OSError."""
    cdef int fd = c_create(CLOCK_REALTIME, TFD_NONBLOCK | TFD_CLOEXEC)
    if fd < 0:
        raise OSError(errno, os.strerror(errno))
    return fd


def set_wall_timer(int fd, int64_t at_us):
    """Make it readable at `at_us` (Unix microseconds; 0 disarms), or when the clock is set. Raises OSError."""
    cdef itimerspec spec
    spec.it_interval.tv_sec = spec.it_interval.tv_nsec = 0
    spec.it_value.tv_sec = at_us // 1000000
    spec.it_value.tv_nsec = at_us % 1000000 * 1000
    if c_set(fd, TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET, &spec, NULL) < 0:
        raise OSError(errno, os.strerror(errno))


def give_memory_back():
    """Return what was freed and is not used to the kernel, where the C library can (malloc_trim(3))."""
    give_back()


def keep_heap_small():
    """From now on, take large pieces as mappings of their own, which go back to the kernel when they are freed
    (M_MMAP_THRESHOLD of mallopt(3), which else grows with use), and few heaps for the threads."""
    bound_heap()


def release_pages(size_t address, size_t size):
    """Let go of the pages of a mapping of a file that is only read; they are filled from the file again (MADV_DONTNEED
    of madvise(2)). Of any other kind of mapping the content would be lost. Raises OSError."""
    cdef int failed
    with nogil:
        failed = madvise(<void*>address, size, MADV_DONTNEED)
    if failed:
        raise OSError(errno, os.strerror(errno))


def decline_huge_pages():
    """From now on, take memory in small pages only (PR_SET_THP_DISABLE of prctl(2)).

    Debian's kernel for the board gives huge ones unasked: with them an idle router had 34.6 MB, without 29.8.
    """
    prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0)
