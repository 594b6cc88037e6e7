"""What the HTTP port shows beside `ok`: /healthz and /readyz for all, the page for browsers, numbers for those who may.

/metrics, /status.json and /clients.json are for the addresses that the configuration names, or in authenticated mode
for a token that may do everything; /tree.json is for whoever may read the params by CLASP. A request that brings no
token has to ask for this machine by a name of its own (transports/origins.py). Knows no sockets.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

import msgspec

from clasp_edge.config.model import Config
from clasp_edge.console.health import Health
from clasp_edge.console.near import is_near, networks_of
from clasp_edge.console.requests import SOMEBODY, Asker, changed_by
from clasp_edge.console.shared_page import SharedPage
from clasp_edge.router.access import Identity, Refused
from clasp_edge.router.router import Router
from clasp_edge.transports.http import Request, Whole, response
from clasp_edge.transports.origins import FORWARDED, Origins
from clasp_edge.wire.pattern import Pattern

if TYPE_CHECKING:
    from clasp_edge.console.files import Files

ASKABLE = frozenset(
    {"why", "rules", "kick", "resync", "reload", "settings", "token", "claim", "support", "update", "box", "audit"}
)
"""Of the requests of the control socket, those that the page makes."""

TELLING = frozenset({"why", "settings", "token", "claim", "support", "box", "audit"})
"""Of these, those that tell more than numbers."""

EVERYTHING = Pattern(b"/**")

METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"
"""Of the Prometheus text format."""


Ask = Callable[[bytes, Asker], Whole]


class Pages:
    """A `transports.http.Pages`. `metrics()`, `status()` and `clients()` make what is shown, in parts."""

    def __init__(
        self,
        router: Router,
        health: Health,
        metrics: Callable[[], Generator[None, None, str]],
        status: Callable[[], Generator[None, None, Any]],
        clients: Callable[[], Generator[None, None, Any]],
        ask: Ask | None = None,
        upload: Callable[[int | None, int, bytes, Asker], bytes] | None = None,
        section: Callable[[str], Mapping[str, Any]] = lambda name: {},
    ) -> None:
        """`section(name)` is a part of the status; `ask(line, who)` answers what can be asked over the control socket;
        `upload(size, at, piece, who)` takes a piece of an update, with its size where it begins."""
        self._ask = ask
        self._upload = upload
        self._section = section
        self._router = router
        self._health = health
        self._shared = {
            "/metrics": SharedPage(router.core, router.loop, lambda: _text_of(metrics())),
            "/status.json": SharedPage(router.core, router.loop, lambda: _json_of(status())),
            "/clients.json": SharedPage(router.core, router.loop, lambda: _json_of(clients())),
        }
        self._files: Files | None = None
        self.apply_config(router.config)

    def apply_config(self, config: Config) -> None:
        """Take over who may read; called again after a reload."""
        self._networks = networks_of(config.console.metrics_from)
        self._origins = Origins(config.websocket.origins)

    def answer(self, request: Request) -> Whole | None:
        """The whole answer to a request for one of the pages, None for any other path."""
        if request.path == "/healthz":
            return self._well(self._health.fault(), request)
        if request.path == "/readyz":
            return self._well(self._health.fault() or self._unready(), request)
        if request.path == "/ask" and self._ask is not None:
            return self._asked(self._ask, request)
        if request.path == "/update" and request.body is not None and self._upload is not None:
            return self.refusal(request) or self._uploaded(self._upload, request, request.body)
        numbers = request.path in self._shared
        if not numbers and request.path != "/tree.json" and not self._for_browser(request):
            return None
        # Prometheus may know this machine by any name.
        if "authorization" not in request.headers and not (request.path == "/metrics" and is_program(request.headers)):
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

    def _unready(self) -> str | None:
        """What keeps a router that is well from being ready: that it cannot keep what it is told."""
        journal = self._section("journal")
        if journal.get("storing", True):
            return None
        return f"the journal does not store: {journal.get('message') or journal.get('state', '?')}"

    def _well(self, fault: str | None, request: Request) -> bytes:
        body = msgspec.json.encode({"status": fault or "ok", "loop_lag_s": round(self._health.lag_s(), 6)})
        status = "503 Service Unavailable" if fault else "200 OK"
        return response(status, body + b"\n", head_only=request.head_only, content_type="application/json")

    def _asked(self, ask: Ask, request: Request) -> Whole:
        """`GET /ask?request=why&address=/a` for what changes nothing; POST, with the same as JSON, for what does."""
        refusal = self._origins.host_refusal(request.headers) or self._origins.refusal(request.headers)
        if refusal is not None:
            return _said("403 Forbidden", refusal, request)
        changes = request.body is not None
        # What changes something, and what tells values, is for a token, from wherever.
        tells = parse_qs(request.query, max_num_fields=8).get("request", [""])[0] in TELLING
        if barred := self._barred(request, must_show=(changes or tells) and self._router.authenticator is not None):
            return barred
        if request.body is None:
            fields = parse_qs(request.query, max_num_fields=8)
            line = msgspec.json.encode({name: values[0] for name, values in fields.items()})
        elif request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
            # What a form of a page from elsewhere cannot send.
            return _said("415 Unsupported Media Type", "a request is application/json", request)
        else:
            line = request.body
        try:
            asked = msgspec.json.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return _said("400 Bad Request", "a request is a JSON object", request)
        name = asked.get("request") if isinstance(asked, dict) else None
        if name not in ASKABLE or (not changes and changed_by(asked) is not None):
            return _said("400 Bad Request", f"over HTTP there are {', '.join(sorted(ASKABLE))}", request)
        if name == "token" and changes and self._router.authenticator is None:
            # A token made while the door is open would outlive the claim.
            return _said("403 Forbidden", "this router asks for no tokens; claim it first", request)
        answer = ask(line, self._asker(request) if changes else SOMEBODY)
        if isinstance(answer, bytes):
            return _answered(answer)
        later: asyncio.Future[bytes] = answer.get_loop().create_future()
        answer.add_done_callback(lambda done: later.set_result(_answered(done.result())))
        return later

    def refusal(self, request: Request) -> bytes | None:
        """The answer to who may not send an update: pages from elsewhere, and who has no token for everything."""
        if self._upload is None:
            return _said("404 Not Found", "no updates here", request)
        refusal = self._origins.host_refusal(request.headers) or self._origins.refusal(request.headers)
        if refusal is not None:
            return _said("403 Forbidden", refusal, request)
        if request.headers.get("content-type", "") != "application/octet-stream":
            # What a form of a page from elsewhere cannot send.
            return _said("415 Unsupported Media Type", "a piece of an update is application/octet-stream", request)
        return self._barred(request, must_show=self._router.authenticator is not None)

    def _uploaded(
        self, upload: Callable[[int | None, int, bytes, Asker], bytes], request: Request, piece: bytes
    ) -> bytes:
        fields = {name: values[0] for name, values in parse_qs(request.query, max_num_fields=4).items()}
        at, size = _number(fields.get("at", "")), _number(fields.get("size", ""))
        if at is None or (at == 0 and size is None):
            return _said("400 Bad Request", "say at, and at the beginning size", request)
        answer = upload(size if at == 0 else None, at, piece, self._asker(request))
        return response("200 OK", answer + b"\n", content_type="application/json")

    def _asker(self, request: Request) -> Asker:
        """For the trail."""
        identity = None
        if self._router.authenticator is not None and "authorization" in request.headers:
            with suppress(Refused):  # from one of console.metrics_from, who needs none
                identity = self._identity(request)
        return Asker("", f"{request.host} (page)", identity)

    def _numbers(self, request: Request) -> Whole:
        """As they are when it is their turn to be told: who asks again and again waits, and nobody else."""
        asked = self._shared[request.path].ask()
        if asked is None:
            return _said("503 Service Unavailable", "too many ask for this at once", request)
        later: asyncio.Future[bytes] = self._router.loop.create_future()

        def answer(made: asyncio.Future[bytes]) -> None:
            if later.cancelled():
                return
            body = made.result()
            if not body:
                later.set_result(_said("500 Internal Server Error", "the log says why", request))
                return
            content_type = "application/json" if request.path.endswith(".json") else METRICS_TYPE
            later.set_result(response("200 OK", body, head_only=request.head_only, content_type=content_type))

        asked.add_done_callback(answer)
        return later

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

    def _barred(self, request: Request, *, must_show: bool = False) -> bytes | None:
        """The answer to who may not have the numbers, None for who may. `must_show`: a token, from wherever."""
        if self._is_near(request) and not must_show:
            return None
        if self._router.authenticator is None:
            text = "the metrics are not for this address; console.metrics_from says for which they are"
            return _said("403 Forbidden", text, request)
        refusal = self._refusal(request)
        return None if refusal is None else _unauthorised(refusal, request)

    def _is_near(self, request: Request) -> bool:
        if any(field in request.headers for field in FORWARDED):
            return any(network.prefixlen == 0 for network in self._networks)
        return is_near(request.host, self._networks)

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


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 16 else None


def is_program(headers: Mapping[str, str]) -> bool:
    """Whether a request comes from no browser. A script on a page can neither take away the language that a browser
    adds to each request nor, on most of them, the rest; so a foreign page that leads here by its name (DNS rebinding)
    does not pass."""
    told = ("accept-language", "origin", "referer", "cookie", "sec-fetch-site", "sec-fetch-mode")
    if any(name in headers for name in told) or "text/html" in headers.get("accept", ""):
        return False
    return not headers.get("user-agent", "").startswith("Mozilla/")


def _text_of(steps: Generator[None, None, str]) -> Generator[None, None, bytes]:
    return (yield from steps).encode()


def _json_of(steps: Generator[None, None, Any]) -> Generator[None, None, bytes]:
    value = yield from steps
    yield
    return msgspec.json.encode(value) + b"\n"


def _json(value: Any, request: Request) -> bytes:
    body = msgspec.json.encode(value) + b"\n"
    return response("200 OK", body, head_only=request.head_only, content_type="application/json")


def _answered(answer: bytes) -> bytes:
    return response("200 OK", answer + b"\n", content_type="application/json")


def _said(status: str, text: str, request: Request) -> bytes:
    return response(status, text.encode() + b"\n", head_only=request.head_only)


def _unauthorised(text: str, request: Request) -> bytes:
    fields = {"WWW-Authenticate": 'Bearer realm="clasp-edge"'}
    return response("401 Unauthorized", text.encode() + b"\n", head_only=request.head_only, fields=fields)
