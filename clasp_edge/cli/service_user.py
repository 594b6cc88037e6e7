"""The user that the service runs as: what root checks, it must be able to read.

Knows the name in the unit (systemd/clasp-edge.service); on a machine without that user nothing changes.
"""

from __future__ import annotations

import os
import pwd

USER = "clasp-edge"
STATE_DIRECTORY = "/var/lib/clasp-edge"
"""As systemd makes it for the unit's `StateDirectory=`."""


def become_service() -> None:
    """From here on this process sees files as the service does. It had to be root for that, and cannot go back."""
    if os.geteuid() != 0:
        return
    try:
        entry = pwd.getpwnam(USER)
    except KeyError:
        return
    os.environ.setdefault("STATE_DIRECTORY", STATE_DIRECTORY)
    os.environ["HOME"] = entry.pw_dir
    os.initgroups(USER, entry.pw_gid)
    os.setresgid(entry.pw_gid, entry.pw_gid, entry.pw_gid)
    os.setresuid(entry.pw_uid, entry.pw_uid, entry.pw_uid)
