from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.stddef cimport size_t

cdef enum:
    BLOCK_BYTES = 65536         # what a block grows to; one oversized record may make it larger
    BLOCK_VERSION = 4
    CLOCK_SYNCHRONISED = 1      # BlockHeader.flags

cdef enum:
    RECORD_PARAM = 1            # StateRecord.kind
    RECORD_GONE = 2
    RECORD_RAW = 3              # a param with the retained MQTT message's own bytes beside the value: see RawSizes

cdef enum:
    # In StateRecord.version_size: the value is no retained MQTT message, the bytes beside it are.
    STATE_UNRETAINED = 0x8000

cdef enum:
    # In LogRaw.exact. Who knows the first one only takes what is not 0 for it, and so has the payload, as bytes.
    LOG_EXACT = 1               # the value in the frame gives the payload back
    LOG_UNREAD = 2              # the value in the frame is the payload, as bytes: who reads it makes what that means

cdef extern from *:
    """
    /* In StateRecord.remaining_ms, more than any param has left: what has the type of bytes is a payload, and who reads
       it makes what that means; where the type is null, the payload is that of the retained message beside it. Who does
       not know this reads bytes, or null, and the same retained message. */
    #define STATE_UNREAD (1ULL << 42)
    """
    const uint64_t STATE_UNREAD


# Little-endian, as on every machine this runs on; journal/format.py has the same layouts for Python.
cdef packed struct BlockHeader:
    uint8_t magic[4]
    uint16_t version
    uint16_t flags
    uint32_t crc                # zlib's CRC-32 of everything behind this field; put in by the writer thread
    uint32_t size               # of header and records
    uint32_t count
    uint32_t run                # which start of the daemon wrote it
    uint64_t number             # log: sequence number of the first record; state: number of the block
    uint64_t base               # state: the first block that still counts; log: 0
    uint64_t before             # bytes of all blocks of the kind before this one
    uint64_t min_us             # wall clock
    uint64_t max_us
    uint32_t signals            # 1 << signal of every record in a log block
    uint32_t reserved


cdef packed struct LogRecord:
    uint32_t size               # of this header, the writer's name, the frame and what is behind it
    uint64_t wall_us
    uint8_t signal
    uint8_t writer_size         # SAME_WRITER: as the record before, in the same block


# Of a write that has come from another router, the name goes on with a zero, the way it has come (whatever the sink has
# as such) and, in 8 bytes, the number it has there. SAME_WRITER then means: the next number, or none as the one before.


cdef enum:
    SAME_WRITER = 0xFF


cdef packed struct LogRaw:      # behind the frame of what came by MQTT, if somebody wants it so or it is LOG_UNREAD
    uint32_t expiry_s           # or NO_EXPIRY
    uint32_t properties_size    # these come next; after them the payload, where `exact` is 0
    uint8_t qos
    uint8_t retain
    uint8_t exact               # LOG_...


cdef packed struct StateRecord:
    uint32_t size               # of this header, address, writer's name and value
    uint8_t kind
    uint8_t value_type
    uint8_t writer_size
    uint8_t qos                 # MQTT quality of service; in blocks of version 1 it is not told
    uint16_t address_size
    uint16_t version_size       # of the version behind the writer's name: rank, then hlc; 0 or 16. With STATE_... bits
    uint32_t ttl
    uint64_t revision
    uint64_t written_us
    uint64_t deadline_us        # wall clock, 0 = never
    uint64_t remaining_ms       # until then, when the record was made. With STATE_UNREAD


cdef packed struct RawSizes:    # of a RECORD_RAW: between the writer's name and the value
    uint32_t value_size
    uint32_t properties_size    # these come after the value, the payload after them


cdef class BlockBuffer:
    cdef uint8_t* memory
    cdef readonly size_t room
    cdef size_t beyond
    cdef readonly size_t used
    cdef bint open
    cdef size_t begin           # of the open block
    cdef list closed            # (offset, size) of the finished ones
    cdef bytes magic

    cdef uint8_t* add(self, size_t size, Stream stream, uint64_t wall_us, int signal) noexcept
    cdef bint open_block(self, Stream stream, uint64_t wall_us) noexcept
    cdef void close(self, Stream stream) noexcept
    cdef void set_base(self, uint64_t base)
    cdef void clear(self) noexcept


cdef class Stream:
    cdef public uint64_t number     # of the next log record or state block
    cdef public uint64_t base
    cdef public uint64_t before
    cdef public uint32_t run
    cdef public uint16_t flags
    cdef readonly bint per_record   # the number counts records
