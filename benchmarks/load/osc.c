/* OSC datagrams in batches. See osc.h. */
#define _GNU_SOURCE
#include "osc.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { PACKET_BYTES = 64 };

static int fd = -1;
static uint8_t packets[OSC_BATCH][PACKET_BYTES];
static struct iovec vectors[OSC_BATCH];
static struct mmsghdr headers[OSC_BATCH];
static unsigned count;

void osc_open(const struct sockaddr_in *to)
{
    fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (const struct sockaddr *)to, sizeof *to) < 0) {
        perror("claspload: OSC socket");
        exit(1);
    }
    for (int i = 0; i < OSC_BATCH; i++) {
        vectors[i].iov_base = packets[i];
        headers[i].msg_hdr.msg_iov = &vectors[i];
        headers[i].msg_hdr.msg_iovlen = 1;
    }
}

size_t osc_sample(uint8_t *out, const char *address, size_t *address_at, size_t *stamp_at)
{
    size_t length = strlen(address), padded = (length + 4) & ~(size_t)3;
    memset(out, 0, padded + 12);
    memcpy(out, address, length);
    memcpy(out + padded, ",h", 2);
    *address_at = 0;
    *stamp_at = padded + 4;
    return padded + 12;
}

void osc_put(const uint8_t *packet, size_t length)
{
    memcpy(packets[count], packet, length);
    vectors[count].iov_len = length;
    if (++count == OSC_BATCH)
        osc_flush();
}

void osc_flush(void)
{
    unsigned at = 0;
    while (at < count) {
        int sent = sendmmsg(fd, headers + at, count - at, 0);
        if (sent > 0)
            at += (unsigned)sent;
        else if (errno != EINTR && errno != ENOBUFS && errno != ECONNREFUSED) {
            perror("claspload: OSC send");
            exit(1);
        }
    }
    count = 0;
}
