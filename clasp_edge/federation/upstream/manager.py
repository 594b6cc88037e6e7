"""All uplinks of the configuration: starts them, stops them, and takes over a changed configuration.

The daemon imports this only where an uplink is configured.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from clasp_edge.config.model import PAIR_UPLINK, Config
from clasp_edge.federation.shared.dedup import Seen
from clasp_edge.federation.shared.dedup_recovery import DedupRecovery
from clasp_edge.federation.shared.identity import Identity
from clasp_edge.federation.shared.pair import Pair, uplink_of
from clasp_edge.federation.upstream.box_reporter import BoxCollector, BoxReporter, Summary
from clasp_edge.federation.upstream.uplink import Uplink
from clasp_edge.journal.followed_log import Log
from clasp_edge.router.router import Router


class Uplinks:
    """The uplinks of one router, by name. `journal` is where queues lie, None where none is kept; `summary()` is what
    hubs are told of this box beside its params."""

    def __init__(
        self, router: Router, identity: Identity, seen: Seen, recall: DedupRecovery, journal: Log | None,
        summary: Summary, decided_above: Callable[[bytes], bool] = lambda address: False, pair: Pair | None = None,
    ) -> None:  # fmt: skip
        """`decided_above(address)`: whether its locks and strategies are decided beyond an uplink."""
        self._decided_above = decided_above
        self._router = router
        self._identity = identity
        self._seen = seen
        self._recall = recall
        self._journal = journal
        self._pair = pair
        self._random = Random()
        self.running: dict[str, Uplink] = {}
        self._summary = summary
        self._collector: BoxCollector | None = None

    def apply(self, config: Config) -> None:
        """Run exactly the uplinks of this configuration. Those that have not changed go on undisturbed."""
        wanted_now = dict(config.uplink)
        pair = self._pair if self._pair is not None and self._pair.config.url else None
        if pair is not None:
            wanted_now[PAIR_UPLINK] = uplink_of(pair.config)
        changed: dict[str, Uplink] = {}
        for name, uplink in list(self.running.items()):
            if wanted_now.get(name) != uplink.config:
                uplink.stop(for_good=name not in wanted_now)
                changed[name] = self.running.pop(name)
        if wanted_now and self._collector is None:
            self._collector = BoxCollector(self._router.plane)
            self._collector.open()
        for name, wanted in wanted_now.items():
            if name not in self.running:
                assert self._collector is not None
                reporter = BoxReporter(self._collector, self._summary, self._router.clock.monotonic_s)
                uplink = Uplink(
                    self._router, name, wanted, self._identity, self._seen, self._recall, self._journal, self._random,
                    self._decided_above, reporter, pair if name == PAIR_UPLINK else None,
                )  # fmt: skip
                self.running[name] = uplink
                if name in changed:
                    uplink.take_over(changed[name])
                uplink.start()

    def stop(self) -> None:
        """Disconnect all."""
        for uplink in self.running.values():
            uplink.stop()
        self.running.clear()
        if self._collector is not None:
            self._collector.close()
            self._collector = None

    def statistics(self) -> dict[str, object]:
        """How each is doing, by name."""
        return {name: uplink.statistics() for name, uplink in self.running.items()}
