"""Bytes in, bytes out: WebSocket and TCP."""
