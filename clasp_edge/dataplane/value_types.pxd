"""The types of values as they are encoded (wire.md 2.2): wire/enums.py has them for Python."""

cdef enum:
    T_NULL = 0x00
    T_BOOL = 0x01
    T_I8 = 0x02
    T_I16 = 0x03
    T_I32 = 0x04
    T_I64 = 0x05
    T_F32 = 0x06
    T_F64 = 0x07
    T_STRING = 0x08
    T_BYTES = 0x09
    T_ARRAY = 0x0A
    T_MAP = 0x0B
