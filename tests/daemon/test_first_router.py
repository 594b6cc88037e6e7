"""The code that serves other routers is loaded when the first one speaks, in parts that hold nobody up."""

from __future__ import annotations

import subprocess
import sys

LOADING = """
import importlib, sys
import clasp_edge.daemon.main, clasp_edge.daemon.journal, clasp_edge.daemon.mqtt, clasp_edge.daemon.osc
from clasp_edge.daemon.federation import SERVING

def ours():
    return {name for name in sys.modules if name.startswith("clasp_edge.")}

before = ours()
assert "clasp_edge.federation.downstream.peers" not in before
for name in SERVING:
    importlib.import_module("clasp_edge.federation." + name)
    came = ours() - before
    before |= came
    print(name, len(came))
from clasp_edge.federation.downstream.peer_handlers import PeerHandlers
from clasp_edge.federation.downstream.peers import Peers
from clasp_edge.federation.downstream.router_ids import RouterIds
from clasp_edge.federation.shared.dedup import Seen
from clasp_edge.federation.shared.dedup_recovery import DedupRecovery
from clasp_edge.federation.shared.identity import Identity
print("left", len(ours() - before))
"""


def test_it_is_loaded_module_by_module() -> None:
    done = subprocess.run([sys.executable, "-c", LOADING], capture_output=True, text=True, timeout=120, check=True)
    came = {name: int(count) for name, count in map(str.split, done.stdout.splitlines())}
    assert came.pop("left") == 0
    # A module, the package that it lies in, and one or two that are a few lines each.
    assert max(came.values()) <= 3, came
