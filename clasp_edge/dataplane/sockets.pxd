"""The kernel's calls on sockets that compiled code makes itself, each declared once. Knows no protocol."""

from libc.stddef cimport size_t
from libc.stdint cimport uint32_t

cdef extern from "<sys/uio.h>" nogil:
    struct iovec:
        void* iov_base
        size_t iov_len

cdef extern from "<sys/socket.h>" nogil:
    struct msghdr:
        void* msg_name
        uint32_t msg_namelen
        iovec* msg_iov
        size_t msg_iovlen
    struct mmsghdr:
        msghdr msg_hdr
        unsigned int msg_len
    ssize_t recv(int fd, void* target, size_t room, int flags)
    int recvmmsg(int fd, mmsghdr* messages, unsigned int count, int flags, void* timeout)
    ssize_t send(int fd, const void* data, size_t size, int flags)
    ssize_t sendmsg(int fd, const msghdr* message, int flags)
    int setsockopt(int fd, int level, int option, const void* value, unsigned int size)
    int MSG_NOSIGNAL, MSG_DONTWAIT
    int AF_INET, AF_INET6
