"""Two hundred thousand comings and goings leave the process as large as it was: nothing keeps what nobody needs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROUNDS = 4
GROWTH_KIB = 3 * 1024
"""Far below what one leaked object of 48 bytes per operation would add (9 MiB), well above an allocator's moods."""

SCRIPT = """
import gc, resource
from support.plane_rig import EXPIRED_AT_ONCE, Rig, publish_payload, set_payload
from clasp_edge.wire import encode_frame
from clasp_edge.wire.pattern import Pattern

class SubscriptionFilter:
    def offer(self, address, signal, frame):
        pass

def rss_kib():
    gc.collect()
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * resource.getpagesize() // 1024

rig = Rig(history=64 << 10)
rig.plane.max_params = 500
stays = rig.line(b"stays")
stays.subscribe(Pattern(b"/p/*"))
operations = 0

def some():
    global operations
    for number in range(250):
        line = rig.line(b"comes and goes")
        line.subscribe(Pattern(b"/p/%d" % (number % 7)))
        thinned = line.subscribe(Pattern(b"/p/**"), 0x01, SubscriptionFilter())
        line.feed(set_payload(b"/p/%d" % (number * 31 % 1000 + n), [number, "x" * (n % 40)]) for n in range(40))
        line.feed(set_payload(b"/once/%d" % n, n, ttl=EXPIRED_AT_ONCE, flags=0x40) for n in range(40))
        line.feed(publish_payload(b"/e/%d" % (number * 17 % 3000 + n), b"data") for n in range(40))
        line.feed([set_payload(b"/bad//address", 1), b"\\x21\\x09"])
        line.feed([set_payload(b"/max/a", 1)] * 2)
        rig.plane.trie.discard(thinned)
        line.subscriptions.remove(thinned)
        rig.plane.expire()
        for n in range(40):
            rig.plane.describe(b"/p/%d" % n)
        cursor = b""
        while True:
            payload, cursor = rig.plane.snapshot(Pattern(b"/p/*"), None, cursor, 4000, 200)
            if not cursor:
                break
        line.peer.start_job(iter([line.peer.image(encode_frame(publish_payload(b"/j")))]))
        line.peer.refused.clear()
        line.peer.garbage.clear()
        stays.read_frames()
        list(rig.plane.release_locks(line.peer.writer, line.name))
        rig.hang_up(line)
        operations += 200
    rig.control.armed_ms.clear()

some()
before = rss_kib()
for _ in range(ROUNDS):
    some()
print(operations, rss_kib() - before)
"""


def test_memory_does_not_grow() -> None:
    script = SCRIPT.replace("ROUNDS", str(ROUNDS))
    tests = Path(__file__).parents[1]
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path[:0] = [{str(tests)!r}, {str(tests.parent)!r}]\n{script}"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    operations, grown_kib = map(int, done.stdout.split())
    assert operations >= 200_000
    assert grown_kib < GROWTH_KIB
    assert done.stderr == ""
