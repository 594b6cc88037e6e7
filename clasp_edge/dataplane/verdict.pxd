# What became of a write. Python has the same numbers (verdicts.py).

cdef enum Verdict:
    ACCEPTED = 0
    BAD_ADDRESS = 1
    NO_SCOPE = 2
    REVISION_CONFLICT = 3
    LOCK_HELD = 4
    STRATEGY_REJECTED = 5
    AT_CAPACITY = 6
    TOO_LARGE = 7
    CONTROL_PLANE = 8       # not refused: this address is the control plane's business
    OUTDATED = 9            # not refused: what is here is as late or later
    FROM_FUTURE = 10        # a version that no clock which is right can have made
