"""The timer on the wall clock, memory that goes back to the kernel, and huge pages."""

from __future__ import annotations

import os
import re
import select
import subprocess
import sys
import time

import pytest

from clasp_edge.dataplane.system import set_wall_timer, wall_timer


def test_a_wall_timer_fires_at_its_time_and_not_before() -> None:
    fd = wall_timer()
    due_us = time.time_ns() // 1000 + 100_000
    set_wall_timer(fd, due_us)
    assert select.select([fd], [], [], 0.02)[0] == []
    assert select.select([fd], [], [], 10)[0] == [fd]
    assert time.time_ns() // 1000 >= due_us
    assert int.from_bytes(os.read(fd, 8), sys.byteorder) == 1
    # Set and disarmed again: silence. What is past fires at once.
    set_wall_timer(fd, due_us + 200_000)
    set_wall_timer(fd, 0)
    assert select.select([fd], [], [], 0.3)[0] == []
    set_wall_timer(fd, due_us)
    assert select.select([fd], [], [], 10)[0] == [fd]
    os.close(fd)


def test_a_wall_timer_that_is_none_is_an_error() -> None:
    with open(os.devnull) as file, pytest.raises(OSError, match="Invalid argument"):
        set_wall_timer(file.fileno(), 1)


def test_freed_memory_goes_back() -> None:
    program = (
        "from clasp_edge.dataplane.system import give_memory_back\n"
        "import os\n"
        "def resident(): return int(open('/proc/self/statm').read().split()[1]) * os.sysconf('SC_PAGE_SIZE')\n"
        # Blocks above Python's own allocator and below the size that gets a mapping of its own; the last one stays.
        "blocks = [bytearray(60_000) for _ in range(1000)]\n"
        "last = bytearray(60_000)\n"
        "full = resident()\n"
        "del blocks\n"
        "give_memory_back()\n"
        "print(full - resident())\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert int(done.stdout) > 50_000_000


def test_huge_pages_are_declined() -> None:
    program = (
        "from clasp_edge.dataplane.system import decline_huge_pages\n"
        "decline_huge_pages()\n"
        "print(open('/proc/self/status').read())\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert re.search(r"^THP_enabled:\s+0$", done.stdout, re.MULTILINE)
