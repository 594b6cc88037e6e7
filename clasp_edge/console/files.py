"""The page's files: small ES modules and styles in the package, read when a browser asks, with an ETag and compressed.

Nothing is read before somebody asks, so a router that nobody looks at pays nothing. A file that was asked for is kept
compressed, 30 kB all together.
"""

from __future__ import annotations

import hashlib
import zlib
from pathlib import Path
from typing import NamedTuple

from clasp_edge.transports.http import Request, response

WEB = Path(__file__).parent / "web"

PREFIX = "/page/"
"""Where the files are; the page itself is `/`, for who accepts HTML."""

VERSION = "version"
"""No file: what all of them are, so that a page notices that it was loaded from another version."""

TYPES = {".js": "text/javascript", ".css": "text/css", ".html": "text/html", ".svg": "image/svg+xml"}
"""What is served, with the type that the browser is told."""

LEVEL = 6
"""Of compression: the largest file takes 2 ms; 9 would win a hundredth."""

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self' ws: wss:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""Content-Security-Policy: nothing inline, nothing from elsewhere. Connections to other routers are WebSockets."""


class _File(NamedTuple):
    type: str
    etag: str
    plain_bytes: int
    gzipped: bytes


class Files:
    """Answers requests for the page and its files."""

    def __init__(self) -> None:
        self._kept: dict[str, _File] = {}
        self._digest = ""

    def answer(self, request: Request) -> bytes | None:
        """The whole answer; None for a path that is no file of ours."""
        if request.path == "/":
            if "text/html" not in request.headers.get("accept", ""):
                return None
            name = "index.html"
        elif request.path.startswith(PREFIX):
            name = request.path.removeprefix(PREFIX)
        else:
            return None
        if name == VERSION:
            fields = {"Cache-Control": "no-store"}
            return response("200 OK", self._version().encode(), head_only=request.head_only, fields=fields)
        file = self._kept.get(name) or self._read(name)
        if file is None:
            return response("404 Not Found", b"no such file\n", head_only=request.head_only)
        fields = {
            "ETag": file.etag,
            "Cache-Control": "no-cache",
            "Vary": "Accept, Accept-Encoding",
            "Content-Security-Policy": POLICY,
            "X-Content-Type-Options": "nosniff",
            "Referrer-Policy": "no-referrer",
        }
        known = [tag.strip().removeprefix("W/") for tag in request.headers.get("if-none-match", "").split(",")]
        if file.etag in known:
            return response("304 Not Modified", b"", head_only=True, fields=fields)
        if "gzip" in request.headers.get("accept-encoding", ""):
            body = file.gzipped
            fields["Content-Encoding"] = "gzip"
        else:
            body = zlib.decompress(file.gzipped, wbits=31)
        return response(
            "200 OK", body, head_only=request.head_only, content_type=f"{file.type}; charset=utf-8", fields=fields
        )

    def _version(self) -> str:
        if not self._digest:
            whole = hashlib.sha256()
            for name, path in sorted(_names().items()):
                whole.update(name.encode() + path.read_bytes())
            self._digest = whole.hexdigest()[:16]
        return self._digest

    def _read(self, name: str) -> _File | None:
        # Only names that are there: nothing of the path that a stranger sends is given to the file system.
        path = _names().get(name)
        if path is None:
            return None
        data = path.read_bytes()
        packer = zlib.compressobj(LEVEL, wbits=31)
        digest = hashlib.sha256(data).hexdigest()[:16]
        file = _File(TYPES[path.suffix], f'"{digest}"', len(data), packer.compress(data) + packer.flush())
        self._kept[name] = file
        return file


def _names() -> dict[str, Path]:
    return {path.relative_to(WEB).as_posix(): path for path in WEB.rglob("*") if path.suffix in TYPES}
