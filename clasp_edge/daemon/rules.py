"""Rules as a part of the process: read from the configuration, run on the router, told of in params and on request.

What runs them is imported when there is a rule.
"""

from __future__ import annotations

import logging
from asyncio import TimerHandle
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

from clasp_edge.callbacks import call_each
from clasp_edge.config.model import Config
from clasp_edge.console.near import is_near, networks_of
from clasp_edge.console.requests import Refused, Requests
from clasp_edge.console.sources import COUNTER, Family, StatusSources
from clasp_edge.daemon.no_collection import no_collection
from clasp_edge.daemon.part import Part
from clasp_edge.daemon.rules_config import has_rules, is_same, read_configured
from clasp_edge.router.principal import host_of
from clasp_edge.router.router import Router
from clasp_edge.router.session import Session
from clasp_edge.wire import Set, WireError, decode_payload

if TYPE_CHECKING:
    from clasp_edge.console.why import Finding
    from clasp_edge.devices.mqtt.server import MqttServer
    from clasp_edge.federation.shared.status import Params
    from clasp_edge.rules.pending import Journal, PendingStore
    from clasp_edge.rules.router_host import RouterHost
    from clasp_edge.rules.state import RuleState

log = logging.getLogger("clasp_edge.rules")

TELL_AFTER_S = 1.0
"""Counts of rules are told as params at most so often."""

TOLD_AT_ONCE = 100
NAMES = ("enabled", "fired", "refused", "last_fired", "last_error", "would")

PENDING = "rules-pending"
"""The document with what rules have under way (rules/pending.py)."""

BASE = "/clasp-edge/rules/"

_SWITCHES = BASE.encode()
_SWITCH = b"/enabled"
LARGEST_SWITCH_BYTES = 1024
"""Of a SET that says true or false."""


class RulesPart(Part):
    """The rules of one router; there may be none, and some after a reload."""

    name = "rules"

    def __init__(
        self, router: Router, config: Config, journal: Journal | None = None, mqtt: MqttServer | None = None
    ) -> None:
        self._router = router
        self._mqtt = mqtt
        self._journal = journal
        self._store: PendingStore | None = None
        self._config = self._taken_over = config
        self._host: RouterHost | None = None
        self._params: Params | None = None
        self._changed: dict[str, None] = {}
        self._timer: TimerHandle | None = None
        self._running = False
        self._started = False
        self._loading = 0
        self._waiting: list[Callable[[], None]] = []

    def ready(self) -> None:
        self._running = True
        self.apply_config(self._config)
        self._started = True
        if self._host is not None:
            self._host.run(self._host.engine.started)
        elif self._journal is not None and self._journal.notes().get(PENDING) is not None:
            # Nothing has rules any more: what they had under way is not to go on when there are some again.
            self._journal.keep_notes(lambda everything: {PENDING: None})
            self._journal.notes_changed(False)

    def apply_config(self, config: Config) -> None:
        self._config = config
        if not self._running or (self._host is None and not has_rules(config)):
            return
        if self._host is not None and not config.rules.files and is_same(self._taken_over, config):
            # Something else has changed: a box was claimed, an option of the page is tried.
            self._host.engine.enabled = config.rules.enabled
            return
        with no_collection():
            self._take_over(config)

    def _take_over(self, config: Config) -> None:
        rules, problems, remarks = read_configured(config)
        if problems:
            # The configuration was verified; a file named in it has changed since.
            for where, sentence in problems:
                log.error("rules: not changed: %s: %s", where, sentence)
            return
        for remark in remarks:
            log.info("rules: %s", remark)
        self._taken_over = config
        if self._host is None:
            self._host = self._begin()
            if self._journal is not None:
                from clasp_edge.rules.pending import recall_times

                recall_times(self._host.engine, self._journal.notes().get(PENDING))
        self._host.engine.enabled = config.rules.enabled
        self._changed |= dict.fromkeys(self._host.engine.states)
        self._loading += 1
        if self._started:
            self._host.load_in_parts(rules, config.scene, self._loaded)
        else:
            self._loaded(self._host.load(rules, config.scene))

    def _loaded(self, lost: list[str]) -> None:
        """The rules are in force."""
        for each in lost:
            log.warning("rules: lost by the reload: %s", each)
        self._loading -= 1
        if self._host is not None:
            if self._journal is not None and self._store is None and self._running:
                self._resume(self._host, self._journal)
            self._changed |= dict.fromkeys(self._host.engine.states)
            self._tell()
        if not self._loading:
            waiting, self._waiting = self._waiting, []
            call_each(waiting)

    def when_in_force(self, then: Callable[[], None]) -> None:
        """Call it when the rules of the last reload are in force, at once where they are."""
        if self._loading and self._running:
            self._waiting.append(then)
        else:
            then()

    def _resume(self, host: RouterHost, journal: Journal) -> None:
        """Go on with what an earlier process had under way."""
        from clasp_edge.rules.pending import PendingStore

        self._store = PendingStore(host.engine, journal)
        for lost in host.run(self._store.restore):
            log.warning("rules: lost by the restart: %s", lost)
        host.on_under_way = self._store.changed

    def _begin(self) -> RouterHost:
        from clasp_edge.federation.downstream.peer_handlers import FEATURE
        from clasp_edge.federation.shared.relay import Relay
        from clasp_edge.federation.shared.status import Params
        from clasp_edge.rules.router_host import RouterHost

        router = self._router
        self._params = Params(router.plane, "rules")
        self._params.open()
        host = RouterHost(
            router.plane,
            router.loop,
            router.clock,
            self._access,
            self._note,
            # Another router: one that has dialled in, or one that we dial.
            lambda origin: FEATURE in origin.features if isinstance(origin, Session) else isinstance(origin, Relay),
        )
        router.on_admitted.append(self._joined)
        router.on_ended.append(self._left)
        if self._mqtt is not None:
            self._mqtt.on_presence.append(self._came_or_went)
        router.on_switch = self._switch
        return host

    def _access(self, scopes: Sequence[str]) -> Any:
        if not scopes:
            return None
        from clasp_edge.security.scope import Scope, Scopes

        return Scopes([Scope.parse(scope) for scope in scopes])

    def _joined(self, session: Session) -> None:
        self._came_or_went(session.name, True)

    def _left(self, session: Session) -> None:
        self._came_or_went(session.name, False)

    def _came_or_went(self, name: str, joins: bool) -> None:
        host = self._host
        if host is not None and self._running:
            host.run(lambda: host.engine.session(name, joins=joins))

    def stop(self) -> None:
        self._running = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._store is not None:
            self._store.freeze()
        if self._host is not None:
            self._host.on_under_way = None
            for lost in self._host.engine.stop():
                if self._store is None:
                    log.warning("rules: lost by the stop: %s", lost)
            self._host.close()
            self._host = None
        if self._params is not None:
            self._params.close()
            self._params = None

    # ---- params ----

    def _switch(self, session: Session, address: bytes, payload: bytes) -> bool:
        """Somebody sets `/clasp-edge/rules/ID/enabled`: whoever may administrate there; where the router asks for no
        tokens, from the addresses that may see the numbers (console.metrics_from), as on the page, and as there not
        by a proxy."""
        if self._host is None or not address.startswith(_SWITCHES) or not address.endswith(_SWITCH):
            return False
        rule = address[len(_SWITCHES) : -len(_SWITCH)].decode("utf-8", "replace")
        if rule not in self._host.engine.states:
            return False
        if session.granted is not None:
            if not session.granted.allows("admin", address):
                return False
        elif session.proxied or not is_near(
            host_of(session.link.remote), networks_of(self._config.console.metrics_from)
        ):
            return False
        value = _switched_to(payload)
        if value is None:
            return False
        self._host.engine.switch(rule, enabled=value)
        self._changed = {rule: None} | self._changed  # who has asked is told first
        action = "enable" if value else "disable"
        log.warning("rules: %s was %sd by %r", rule, action, session)
        self._router.trail.note(
            f"rules {action}", session.identity, remote=session.link.remote, client=session.name, target=rule
        )
        self._tell()
        return True

    def _note(self, rule: str) -> None:
        self._changed[rule] = None
        self._tell_later(TELL_AFTER_S)

    def _tell_later(self, delay_s: float) -> None:
        if self._timer is None and self._running:
            self._timer = self._router.loop.call_later(delay_s, self._tell)

    def _tell(self) -> None:
        """Write what has changed, some rules at a time: of thousands it takes longer than others may wait."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._host is None or self._params is None:
            return
        states = self._host.engine.states
        for rule in list(islice(self._changed, TOLD_AT_ONCE)):
            del self._changed[rule]
            if (state := states.get(rule)) is not None:
                self._write(self._params, state)
            else:
                for name in NAMES:
                    self._params.forget(f"{BASE}{rule}/{name}")
        if self._changed:
            self._timer = self._router.loop.call_later(0, self._tell)

    @staticmethod
    def _write(params: Params, state: RuleState) -> None:
        where, trace = f"{BASE}{state.rule.id}/", state.trace
        params.write(f"{where}enabled", state.enabled)
        params.write(f"{where}fired", trace.fired)
        params.write(f"{where}refused", trace.refused)
        params.write(f"{where}last_fired", trace.last_fired_s)
        params.write(f"{where}last_error", trace.last_error)
        if not state.rule.act:
            params.write(f"{where}would", trace.last_would)

    # ---- requests and numbers ----

    def describe(self, sources: StatusSources) -> None:
        sources.add(
            "rules",
            self._numbers,
            (
                Family(
                    "clasp_edge_rule_fired_total", COUNTER, "Firings of a rule.", ("rules", "*", "fired"), ("rule",)
                ),
                Family(
                    "clasp_edge_rule_errors_total",
                    COUNTER,
                    "Failed actions of a rule.",
                    ("rules", "*", "errors"),
                    ("rule",),
                ),
            ),
        )

    def _numbers(self) -> Mapping[str, Any]:
        if self._host is None:
            return {"rules": {}, "dropped": 0}
        rules = {rule: self._summary(state) for rule, state in self._host.engine.states.items()}
        return {"rules": rules, "dropped": self._host.dropped}

    def _summary(self, state: RuleState) -> dict[str, Any]:
        trace = state.trace
        return {
            "name": state.rule.name,
            "enabled": state.enabled,
            "mode": "act" if state.rule.act else "watch",
            "fired": trace.fired,
            "refused": trace.refused,
            "errors": trace.errors,
            "last_fired": trace.last_fired_s,
            "last_error": trace.last_error,
            "would": trace.last_would,
        }

    def explain(self, address: bytes) -> Iterable[Finding]:
        from clasp_edge.console.why import Finding as Found

        if self._host is None:
            return
        for rule, state in self._host.engine.about(address):
            last = state.trace.entries[-1].line() if state.trace.entries else "nothing has set it off yet"
            what = "looks at it" + ("" if self._host.engine.enabled else "; all rules are switched off")
            well = state.enabled and self._host.engine.enabled and not state.trace.last_error
            error = f"; last error: {state.trace.last_error}" if state.trace.last_error else ""
            off = "" if state.enabled else "; it is switched off"
            fired = not state.trace.entries or state.trace.entries[-1].fired
            yield Found(f"rule {rule}", well and (fired or None), f"{what}{off}; last: {last}{error}")

    def offer(self, requests: Requests) -> None:
        requests.add("rules", self._request)

    def _request(self, request: Mapping[str, Any]) -> Any:
        action, wanted = request.get("action", "list"), request.get("id")
        if action == "list":
            return self._numbers()
        if self._host is None:
            raise Refused("no-rules", "the router has no rules")
        state = self._host.engine.states.get(wanted) if isinstance(wanted, str) else None
        if state is None:
            known = sorted(self._host.engine.states)[:50]
            raise Refused("unknown-rule", f'no rule "{str(wanted)[:80]}"; there are {", ".join(known)}', known=known)
        if action in ("enable", "disable"):
            self._host.engine.switch(state.rule.id, enabled=action == "enable")
            self._changed = {state.rule.id: None} | self._changed
            self._tell()
            log.warning("rules: %s was %sd over the control socket", state.rule.id, action)
            return self._summary(state)
        if action == "trace":
            entries = [
                {"time": entry.wall_s, "text": entry.line(), "fired": entry.fired} for entry in state.trace.entries
            ]
            return self._summary(state) | {"trace": entries}
        raise Refused("bad-request", 'rules takes "action": list, trace, enable or disable')


def _switched_to(payload: bytes) -> bool | None:
    """What a SET says; None for anything but true and false."""
    if len(payload) > LARGEST_SWITCH_BYTES:
        return None
    try:
        message = decode_payload(payload)
    except WireError:
        return None
    return message.value if isinstance(message, Set) and isinstance(message.value, bool) else None
