"""CLASP over QUIC (quic.md): the listener, its connections, and what both ends of one need of the library."""
