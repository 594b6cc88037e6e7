"""The journal: every param survives a power cut, and what happened can be replayed.

`Journal` (in `journal.journal`) is what the daemon runs. LMDB is imported by `journal.store` only, so that a router
without a journal does not carry it.
"""
