"""What clients do that keeps a value from arriving, beside being refused: too fast, too early, listening elsewhere.

Parts of `clasp-edge why ADDRESS` (console/why.py). Each is bounded in what it looks at.
"""

from __future__ import annotations

from collections.abc import Iterator

from clasp_edge.router.bundle import waiting_bundles
from clasp_edge.router.router import Router
from clasp_edge.router.session import Session
from clasp_edge.wire import ErrorCode

RECENT_US = 600_000_000
"""Since a refusal: who is looked at has tried again since."""

LOOKS = 4_000
"""Subscriptions looked at for those that were perhaps meant: a millisecond."""

LOOK_BYTES = 4_000_000
"""Of bundles that wait: a millisecond."""

MOST = 4
EARLY_S = 10.0
"""A cue may wait so long for its time; a fader does not."""

Told = tuple[str, bool | None, str]


def too_fast(router: Router, writer: str | None) -> Iterator[Told]:
    """Clients that were above the rate limit lately. `writer` is whose value is there: what came after it was lost."""
    now_us = router.clock.wall_us()
    seen: set[str] = set()
    for (name, remote, code, text), at_us in reversed(router.refusals.items()):
        if code != ErrorCode.RATE_LIMITED or now_us - at_us >= RECENT_US or remote in seen or len(seen) >= MOST:
            continue
        session = next((each for each in router.sessions.values() if each.link.remote == remote), None)
        if session is None or not session.over_rate:
            continue
        seen.add(remote)
        lost = f"{session.over_rate} of its messages were refused (limits.messages_per_second)"
        about = f"client {name or '?'} ({remote})"
        yield about, False if writer in (None, session.id) else None, f"sends too fast: {lost}; {text}"


def too_early(router: Router, address: bytes) -> Iterator[Told]:
    """Bundles that wait for their time and write there."""
    now_us = router.clock.wall_us()
    wanted = len(address).to_bytes(2, "big") + address
    left = LOOK_BYTES
    count = 0
    for due_us, session, payloads in waiting_bundles(router.schedule):
        left -= sum(map(len, payloads)) + 100
        if left < 0 or count >= MOST:
            return
        if any(wanted in payload for payload in payloads):
            count += 1
            wait_s = (due_us - now_us) / 1e6
            clock = "; is the clock of the sender right?" if wait_s > EARLY_S else ""
            text = f"has sent it in a bundle that waits for its time, {wait_s:.1f} s more{clock}"
            yield f"client {session.name or '?'} ({session.link.remote})", wait_s <= EARLY_S, text


def listening_elsewhere(router: Router, address: bytes) -> Iterator[Told]:
    """Clients with a subscription that looks like the address and does not cover it: perhaps it was meant."""
    segments = address.split(b"/")
    beginning, last = b"/".join(segments[:2]) + b"/", segments[-1]
    looks = count = 0
    for session in list(router.sessions.values())[:LOOKS]:
        for subscription in list(session.subscriptions.values())[: LOOKS - looks]:
            looks += 1
            text: bytes = subscription.pattern.text
            alike = text.startswith(beginning) or text.rpartition(b"/")[2] == last
            if not alike or text.startswith(b"/clasp-edge/") or subscription.pattern.matches(address):
                continue
            count += 1
            shown = text.decode("utf-8", "replace")
            yield _about(session), None, f"is subscribed to {shown}, which this address is not in"
            if count >= MOST:
                return
        if looks >= LOOKS:
            return


def _about(session: Session) -> str:
    return f"client {session.name or '?'} ({session.link.remote})"
