"""Tests of the whole board, in QEMU or real: make hw-test, docs/board.md."""
