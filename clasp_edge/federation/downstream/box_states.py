"""How the boxes below are, as they say it: params under `/clasp-edge/peers/ID/...`, for whoever may read there.

A box tells of itself and cannot say anything of another one, nor what the hub itself says of it (`state`, `name`,
`url`). What it says is bounded in bytes by MAX_BOX_BYTES and by what its principal may hold, and in bytes per second;
what is beyond that is left out and said once. When the box leaves it is cleared: nobody knows any more how it is.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from clasp_edge.dataplane.account import Charge, Holding
from clasp_edge.federation.shared.box_report import LISTEN, MAX_BOX_BYTES, is_told, page_url, read_box, size_of
from clasp_edge.wire import WireError, encode_value
from clasp_edge.wire.address import AddressError, validate_address

if TYPE_CHECKING:
    from clasp_edge.federation.shared.status import Params
    from clasp_edge.router.session import Session
    from clasp_edge.wire import FederationSync

log = logging.getLogger("clasp_edge.federation")

BYTES_PER_SECOND = 8_192
BURST_BYTES = 2 * MAX_BOX_BYTES
"""All that a box may say, twice; what changes on a box that is well is some hundred bytes a second."""


class _Box:
    """What one box has said. `sizes` are of what stands, by key."""

    def __init__(self, session: Session, now_s: float) -> None:
        self.session = session
        self.holding = Holding(session.holding.account)
        self.sizes: dict[str, int] = {}
        self.size = 0
        self.left = float(BURST_BYTES)
        self.at_s = now_s
        self.complained = False


class BoxStates:
    """All of one hub. `base(router_id)` is what the params of a box begin with."""

    def __init__(self, params: Params, base: Callable[[str], str], monotonic_s: Callable[[], float]) -> None:
        self._params = params
        self._base = base
        self._monotonic_s = monotonic_s
        self._boxes: dict[str, _Box] = {}

    def told(self, session: Session, router_id: str, message: FederationSync) -> None:
        """BOX. Raises ValueError for one that cannot be understood."""
        box = self._boxes.get(router_id)
        now_s = self._monotonic_s()
        if box is not None and box.session is not session and box.session.closing:
            self.left(router_id)
            box = None
        if box is None:
            if not self._may_take(router_id):
                return
            box = self._boxes[router_id] = _Box(session, now_s)
        elif box.session is not session:
            return  # by another of its links it says the same
        box.left = min(BURST_BYTES, box.left + (now_s - box.at_s) * BYTES_PER_SECOND) - len(message.origin or "")
        box.at_s = now_s
        if box.left < 0:
            self._complain(box, router_id, "says more of itself than a hub listens to")
            box.left = max(box.left, -float(BURST_BYTES))
            return
        whole, values = read_box(message)
        if whole:
            for key in box.sizes.keys() - values.keys():
                self._forget(box, router_id, key)
        for key, value in values.items():
            if key == LISTEN:
                url = page_url(value, session.link.remote)
                self._params.write(f"{self._base(router_id)}/url", url)
            elif value is None:
                self._forget(box, router_id, key)
            elif is_told(key):
                self._keep(box, router_id, key, value)

    def _may_take(self, router_id: str) -> bool:
        """Ids that differ may be shown alike (`a b` is shown as `a_b`): then it is of the one that is shown as it is,
        else of who came first."""
        base = self._base(router_id)
        alike = next((other for other in self._boxes if other != router_id and self._base(other) == base), None)
        if alike is None:
            return True
        if not base.endswith(f"/{router_id}"):
            return False
        self.left(alike)
        return True

    def left(self, router_id: str, session: Session | None = None) -> None:
        """The box is gone; of several links of it, the one by which it has said how it is."""
        box = self._boxes.get(router_id)
        if box is None or (session is not None and box.session is not session):
            return
        del self._boxes[router_id]
        for key in box.sizes:
            self._params.forget(f"{self._base(router_id)}/{key}")
        box.holding.close()

    def _keep(self, box: _Box, router_id: str, key: str, value: Any) -> None:
        address = f"{self._base(router_id)}/{key}"
        try:
            validate_address(address.encode())
            encode_value(value)
        except (AddressError, WireError, TypeError, ValueError, RecursionError):
            return
        before = box.sizes.get(key, 0)
        size = size_of(key, value)
        if box.size - before + size > MAX_BOX_BYTES:
            self._complain(box, router_id, f"says more of itself than {MAX_BOX_BYTES} bytes")
        elif size > before and not box.holding.charge(size - before, Charge.FEDERATION):
            self._complain(box, router_id, "may not hold more, so what it says of itself is not shown in whole")
        else:
            if size < before:
                box.holding.release(before - size, Charge.FEDERATION)
            box.sizes[key] = size
            box.size += size - before
            self._params.write(address, value)

    def _forget(self, box: _Box, router_id: str, key: str) -> None:
        if size := box.sizes.pop(key, 0):
            box.size -= size
            box.holding.release(size, Charge.FEDERATION)
            self._params.forget(f"{self._base(router_id)}/{key}")

    @staticmethod
    def _complain(box: _Box, router_id: str, text: str) -> None:
        if not box.complained:
            box.complained = True
            log.warning("federation peer %r %s: the rest is not shown", router_id[:64], text)
