/* What a process has used so far: CPU time and resident memory, read from outside.
 *
 * Responsible for: CPU time of all threads of another process in nanoseconds, its resident and peak memory.
 * Must not know: CLASP, sockets, what the process is.
 */
#ifndef CLASPLOAD_PROCESS_H
#define CLASPLOAD_PROCESS_H

#include <stdint.h>
#include <sys/types.h>

/* User plus system time of every thread (ended ones included), in ns; -1 when the process is not there. */
int64_t process_cpu_ns(pid_t pid);

/* VmRSS and VmHWM in KiB; -1 when unknown. */
void process_memory_kib(pid_t pid, int64_t *rss, int64_t *peak);

uint64_t clock_now_ns(void); /* CLOCK_MONOTONIC */

#endif
