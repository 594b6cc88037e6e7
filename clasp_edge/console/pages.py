"""What the HTTP port shows beside `ok`: /healthz for whoever asks, the page for browsers, numbers for those who may.

/metrics, /status.json and /clients.json are for the addresses that the configuration names, or in authenticated mode
for a token that may do everything; /tree.json is for whoever may read the params by CLASP. A request that brings no
token has to ask for this machine by a name of its own (transports/origins.py). Knows no sockets.
"""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import IPv6Address, ip_address, ip_network
from typing import TYPE_CHECKING, Any

import msgspec

from clasp_edge.config.model import Config
from clasp_edge.console.health import Health
from clasp_edge.router.access import Identity, Refused
from clasp_edge.router.router import Router
from clasp_edge.transports.http import Request, response
from clasp_edge.transports.origins import Origins
from clasp_edge.wire.pattern import Pattern

if TYPE_CHECKING:
    from clasp_edge.console.files import Files

FORWARDED = ("forwarded", "x-forwarded-for", "via")
"""Header fields that say that the request came by a proxy, whose address says nothing about who asks."""

EVERYTHING = Pattern(b"/**")


class Pages:
    """A `transports.http.Pages`. `metrics()`, `status()` and `clients()` make what is shown."""

    def __init__(
        self,
        router: Router,
        health: Health,
        metrics: Callable[[], str],
        status: Callable[[], Any],
        clients: Callable[[], Any],
    ) -> None:
        self._router = router
        self._health = health
        self._metrics = metrics
        self._reports = {"/status.json": status, "/clients.json": clients}
        self._files: Files | None = None
        self.apply_config(router.config)

    def apply_config(self, config: Config) -> None:
        """Take over who may read; called again after a reload."""
        self._networks = [ip_network(text) for text in config.console.metrics_from]
        self._origins = Origins(config.websocket.origins)

    def answer(self, request: Request) -> bytes | None:
        """The whole answer to a request for one of the pages, None for any other path."""
        if request.path == "/healthz":
            return self._healthz(request)
        numbers = request.path == "/metrics" or request.path in self._reports
        if not numbers and request.path != "/tree.json" and not self._for_browser(request):
            return None
        if "authorization" not in request.headers:
            refusal = self._origins.host_refusal(request.headers)
            if refusal is not None:
                return _said("403 Forbidden", refusal, request)
        if numbers:
            return self._barred(request) or self._numbers(request)
        if request.path == "/tree.json":
            return self._tree(request)
        if self._files is None:
            from clasp_edge.console.files import Files

            self._files = Files()
        return self._files.answer(request)

    @staticmethod
    def _for_browser(request: Request) -> bool:
        if request.path == "/":
            return "text/html" in request.headers.get("accept", "")
        return request.path.startswith("/page/")

    def _healthz(self, request: Request) -> bytes:
        fault = self._health.fault()
        body = msgspec.json.encode({"status": fault or "ok", "loop_lag_s": round(self._health.lag_s(), 6)})
        status = "503 Service Unavailable" if fault else "200 OK"
        return response(status, body + b"\n", head_only=request.head_only, content_type="application/json")

    def _numbers(self, request: Request) -> bytes:
        report = self._reports.get(request.path)
        if report is not None:
            return _json(report(), request)
        from clasp_edge.console.prometheus import CONTENT_TYPE

        body = self._metrics().encode()
        return response("200 OK", body, head_only=request.head_only, content_type=CONTENT_TYPE)

    def _tree(self, request: Request) -> bytes:
        from clasp_edge.console import tree
        from clasp_edge.security.scope import Scopes

        scopes: Scopes | None = None
        if self._router.authenticator is not None:
            try:
                granted = self._identity(request).scopes
            except Refused as refusal:
                return _unauthorised(refusal.text, request)
            assert isinstance(granted, Scopes)
            scopes = granted
        return _json(tree.answer(self._router.plane, scopes, request.query), request)

    def _barred(self, request: Request) -> bytes | None:
        """The answer to who may not have the numbers, None for who may."""
        if self._is_near(request):
            return None
        if self._router.authenticator is None:
            text = "the metrics are not for this address; console.metrics_from says for which they are"
            return _said("403 Forbidden", text, request)
        refusal = self._refusal(request)
        return None if refusal is None else _unauthorised(refusal, request)

    def _is_near(self, request: Request) -> bool:
        if any(field in request.headers for field in FORWARDED):
            return any(network.prefixlen == 0 for network in self._networks)
        try:
            address = ip_address(request.host.partition("%")[0])
        except ValueError:
            return False
        if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
            address = address.ipv4_mapped  # by the socket for both families
        return any(address in network for network in self._networks)

    def _identity(self, request: Request) -> Identity:
        """Whose token the request has. Raises Refused."""
        assert self._router.authenticator is not None
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        return self._router.authenticator.validate(
            token.strip() if scheme.lower() == "bearer" else "", f"{request.host}:0"
        )

    def _refusal(self, request: Request) -> str | None:
        """Why the request's token is not good enough, or None."""
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token.strip():
            return "the metrics need a token from this address (Authorization: Bearer ...); see console.metrics_from"
        try:
            identity = self._identity(request)
        except Refused as refusal:
            return refusal.text
        if not identity.scopes.covers("admin", EVERYTHING):
            return 'the metrics need a token with the scope "admin:/**"'
        return None


def _json(value: Any, request: Request) -> bytes:
    body = msgspec.json.encode(value) + b"\n"
    return response("200 OK", body, head_only=request.head_only, content_type="application/json")


def _said(status: str, text: str, request: Request) -> bytes:
    return response(status, text.encode() + b"\n", head_only=request.head_only)


def _unauthorised(text: str, request: Request) -> bytes:
    fields = {"WWW-Authenticate": 'Bearer realm="clasp-edge"'}
    return response("401 Unauthorized", text.encode() + b"\n", head_only=request.head_only, fields=fields)
