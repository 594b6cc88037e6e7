"""`clasp-edge dnssd`: what systemd-resolved is to announce of the configured router, shown or put where it looks."""

from __future__ import annotations

import sys
from pathlib import Path

from clasp_edge.config.model import Config
from clasp_edge.daemon.certificate import DIRECTORY, fingerprint_of
from clasp_edge.discovery.dnssd import files, write
from clasp_edge.federation.shared.identity import FILE_NAME, kept_id

EXIT_FAILED = 1


def run(config: Config, into: Path | None) -> int:
    """Print the files, or write them into the directory. The exit status."""
    made = files(config, router_id=_router_id(config), fingerprint=_fingerprint(config))
    if into is None:
        for name, text in made.items():
            print(f"# {name}\n{text}")
        return 0
    try:
        write(into, made)
    except OSError as error:
        print(f"clasp-edge: {into}: {error.strerror or error}", file=sys.stderr)
        return EXIT_FAILED
    return 0


def _router_id(config: Config) -> str:
    """As it is kept. One that is not there yet is made by the router, in files of its own."""
    return config.federation.router_id or kept_id(config.data_dir / FILE_NAME)


def _fingerprint(config: Config) -> str:
    if config.websocket.tls_listen is None:
        return ""
    chain = Path(config.tls.certificate) if config.tls.certificate else config.data_dir / DIRECTORY / "certificate.pem"
    try:
        return fingerprint_of(chain)
    except (OSError, ValueError):
        return ""
