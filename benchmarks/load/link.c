/* Connections. See link.h. */
#define _GNU_SOURCE
#include "link.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "mqtt.h"

enum {
    READ_BYTES = 256 * 1024,       /* one read; about the size of a second-level cache */
    MAX_FRAME = 65547 + 14,        /* the largest CLASP frame with the longest wrapping */
    OPCODE_CLOSE = 8,
    OPCODE_PING = 9,
};

/* Shared by all connections: a thousand subscribers need no buffer each, only their unfinished frames. */
static uint8_t read_buffer[MAX_FRAME + READ_BYTES];

bool link_connect(struct link *l, const struct sockaddr_in *to, enum link_framing framing, int rcvbuf_bytes)
{
    memset(l, 0, sizeof *l);
    l->framing = framing;
    l->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (l->fd < 0)
        return false;
    int on = 1;
    setsockopt(l->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (rcvbuf_bytes)
        setsockopt(l->fd, SOL_SOCKET, SO_RCVBUF, &rcvbuf_bytes, sizeof rcvbuf_bytes);
    if (connect(l->fd, (const struct sockaddr *)to, sizeof *to) < 0 && errno != EINPROGRESS) {
        link_close(l);
        return false;
    }
    return true;
}

static uint8_t *reserve(struct link *l, size_t bytes)
{
    if (l->out_head == l->out_tail)
        l->out_head = l->out_tail = 0;
    if (l->out_size - l->out_tail < bytes && l->out_head) {
        memmove(l->out, l->out + l->out_head, l->out_tail - l->out_head);
        l->out_tail -= l->out_head;
        l->out_head = 0;
    }
    while (l->out_size - l->out_tail < bytes) {
        l->out_size = l->out_size ? l->out_size * 2 : 4096;
        l->out = realloc(l->out, l->out_size);
        if (!l->out)
            abort();
    }
    uint8_t *p = l->out + l->out_tail;
    l->out_tail += bytes;
    return p;
}

static uint8_t *append_websocket(struct link *l, unsigned opcode, size_t n)
{
    size_t head = n < 126 ? 6 : 8;
    uint8_t *p = reserve(l, head + n);
    p[0] = (uint8_t)(0x80 | opcode);
    if (n < 126) {
        p[1] = (uint8_t)(0x80 | n);
    } else {
        p[1] = 0x80 | 126;
        p[2] = (uint8_t)(n >> 8);
        p[3] = (uint8_t)n;
    }
    memset(p + head - 4, 0, 4); /* mask key 0 */
    return p + head;
}

uint8_t *link_append(struct link *l, size_t frame_length)
{
    if (l->framing == FRAMING_WEBSOCKET)
        return append_websocket(l, 2, frame_length);
    if (l->framing == FRAMING_MQTT)
        return reserve(l, frame_length);
    uint8_t *p = reserve(l, 4 + frame_length);
    uint32_t prefix = htonl((uint32_t)frame_length);
    memcpy(p, &prefix, 4);
    return p + 4;
}

bool link_flush(struct link *l)
{
    while (l->out_head < l->out_tail) {
        ssize_t n = send(l->fd, l->out + l->out_head, l->out_tail - l->out_head, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
            return true;
        if (n < 0) {
            link_close(l);
            return false;
        }
        l->out_head += (size_t)n;
    }
    return true;
}

bool link_connected(struct link *l)
{
    static const char upgrade[] = "GET / HTTP/1.1\r\n"
                                  "Host: localhost\r\n"
                                  "Upgrade: websocket\r\n"
                                  "Connection: Upgrade\r\n"
                                  "Sec-WebSocket-Key: Y2xhc3AtbG9hZC1iZW5jaA==\r\n"
                                  "Sec-WebSocket-Version: 13\r\n"
                                  "Sec-WebSocket-Protocol: clasp\r\n\r\n";
    int error = 0;
    socklen_t size = sizeof error;
    if (getsockopt(l->fd, SOL_SOCKET, SO_ERROR, &error, &size) < 0 || error) {
        errno = error;
        link_close(l);
        return false;
    }
    if (l->framing != FRAMING_WEBSOCKET) {
        l->state = LINK_OPEN;
        return true;
    }
    l->state = LINK_UPGRADING;
    memcpy(reserve(l, sizeof upgrade - 1), upgrade, sizeof upgrade - 1);
    return link_flush(l);
}

/* The length of the HTTP response at p, 0 while it is incomplete; closes the connection on a refusal. */
static size_t upgrade_response(struct link *l, const uint8_t *p, size_t n)
{
    const uint8_t *end = memmem(p, n, "\r\n\r\n", 4);
    if (!end)
        return 0;
    if (n < 12 || memcmp(p, "HTTP/1.1 101", 12) != 0) {
        fprintf(stderr, "claspload: upgrade refused: %.*s\n", (int)(n < 60 ? n : 60), (const char *)p);
        link_close(l);
        return 0;
    }
    l->state = LINK_OPEN;
    return (size_t)(end - p) + 4;
}

static size_t take_prefixed(const uint8_t *p, size_t n, link_frame_fn *on_frame, void *owner, struct link *l)
{
    size_t at = 0;
    while (n - at >= 4 && l->state == LINK_OPEN) {
        uint32_t length;
        memcpy(&length, p + at, 4);
        length = ntohl(length);
        if (length > MAX_FRAME) {
            fprintf(stderr, "claspload: a length prefix of %u\n", length);
            link_close(l);
            break;
        }
        if (n - at < 4 + (size_t)length)
            break;
        on_frame(owner, p + at + 4, length);
        at += 4 + (size_t)length;
    }
    return at;
}

static size_t take_packets(const uint8_t *p, size_t n, link_frame_fn *on_frame, void *owner, struct link *l)
{
    size_t at = 0;
    while (l->state == LINK_OPEN) {
        ptrdiff_t length = mqtt_packet_length(p + at, n - at);
        if (length < 0 || (length == 0 && n - at > MAX_FRAME)) {
            fprintf(stderr, "claspload: the broker broke the MQTT framing\n");
            link_close(l);
        }
        if (length <= 0)
            break;
        on_frame(owner, p + at, (size_t)length);
        at += (size_t)length;
    }
    return at;
}

static void control_frame(struct link *l, unsigned opcode, const uint8_t *body, size_t n)
{
    if (opcode == OPCODE_PING && n < 126) {
        memcpy(append_websocket(l, 10, n), body, n);
        link_flush(l);
    } else if (opcode == OPCODE_CLOSE) {
        l->close_code = n >= 2 ? (uint16_t)(body[0] << 8 | body[1]) : 1005;
        link_close(l);
    }
}

static size_t take_websocket(const uint8_t *p, size_t n, link_frame_fn *on_frame, void *owner, struct link *l)
{
    size_t at = 0;
    while (n - at >= 2 && l->state == LINK_OPEN) {
        const uint8_t *f = p + at;
        size_t left = n - at, head = 2, length = f[1];
        if (length == 126) {
            if (left < 4)
                break;
            length = (size_t)f[2] << 8 | f[3];
            head = 4;
        } else if (length > 126) { /* 64-bit length, or a masked frame, which a server must not send */
            if (left < 10)
                break;
            length = (size_t)f[6] << 24 | (size_t)f[7] << 16 | (size_t)f[8] << 8 | f[9];
            head = 10;
        }
        if (f[1] & 0x80 || length > MAX_FRAME) {
            fprintf(stderr, "claspload: the router broke the WebSocket framing\n");
            link_close(l);
            break;
        }
        if (left < head + length)
            break;
        if ((f[0] & 0x0F) < OPCODE_CLOSE)
            on_frame(owner, f + head, length);
        else
            control_frame(l, f[0] & 0x0F, f + head, length);
        at += head + length;
    }
    return at;
}

bool link_read(struct link *l, link_frame_fn *on_frame, void *owner)
{
    memcpy(read_buffer, l->rest, l->rest_length);
    ssize_t got = recv(l->fd, read_buffer + l->rest_length, sizeof read_buffer - l->rest_length, 0);
    if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR))
        return true;
    if (got <= 0) {
        link_close(l);
        return false;
    }
    size_t n = l->rest_length + (size_t)got, at = 0;
    if (l->state == LINK_UPGRADING)
        at = upgrade_response(l, read_buffer, n);
    if (l->state == LINK_OPEN) {
        /* An upgraded link announces itself to its owner by an empty frame, before any real one. */
        if (at)
            on_frame(owner, read_buffer, 0);
        const uint8_t *p = read_buffer + at;
        if (l->framing == FRAMING_WEBSOCKET)
            at += take_websocket(p, n - at, on_frame, owner, l);
        else
            at += (l->framing == FRAMING_MQTT ? take_packets : take_prefixed)(p, n - at, on_frame, owner, l);
    }
    if (l->state == LINK_CLOSED)
        return false;
    l->rest_length = n - at;
    if (l->rest_length > l->rest_size) {
        l->rest_size = l->rest_length * 2;
        l->rest = realloc(l->rest, l->rest_size);
        if (!l->rest)
            abort();
    }
    if (l->rest_length)
        memcpy(l->rest, read_buffer + at, l->rest_length);
    return true;
}

void link_close(struct link *l)
{
    if (l->fd >= 0)
        close(l->fd);
    l->fd = -1;
    l->state = LINK_CLOSED;
    free(l->out);
    free(l->rest);
    l->out = l->rest = NULL;
    l->out_head = l->out_tail = l->out_size = l->rest_length = l->rest_size = 0;
}
