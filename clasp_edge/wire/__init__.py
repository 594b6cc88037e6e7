"""The CLASP language without I/O: frames, messages, values, addresses, both encodings."""
