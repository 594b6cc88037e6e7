/* A disk that does not answer: syncs of the process wait as long as the file named by HELD_DISK is there. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <unistd.h>

static void wait_here(void)
{
    const char *gate = getenv("HELD_DISK");
    while (gate && access(gate, F_OK) == 0)
        usleep(2000);
}

int fdatasync(int fd)
{
    static int (*real)(int);
    if (!real)
        real = dlsym(RTLD_NEXT, "fdatasync");
    wait_here();
    return real(fd);
}

int fsync(int fd)
{
    static int (*real)(int);
    if (!real)
        real = dlsym(RTLD_NEXT, "fsync");
    wait_here();
    return real(fd);
}
