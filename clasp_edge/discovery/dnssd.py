"""Files for systemd-resolved that announce this router's services by mDNS without a process of ours (systemd.dnssd(5)).

From the configuration, for a box that writes them before systemd-resolved starts: what a running router would say of
itself (`services`), as far as it is known by then. Its id and the fingerprint of a certificate that it makes itself are
known from the second start on. Knows no network.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from ipaddress import ip_address
from pathlib import Path

from clasp_edge.config.listen import Listen
from clasp_edge.config.model import Config
from clasp_edge.discovery.dns import MAX_LABEL_BYTES
from clasp_edge.discovery.router import described
from clasp_edge.discovery.services import Service, ports, services

PREFIX = "clasp-edge-"
SUFFIX = ".dnssd"


def addresses_of(config: Config) -> list[str]:
    """What the configuration has the router listen on, as `scheme://host:port`."""
    listeners: dict[str, Listen | None] = {
        "ws": config.websocket.listen,
        "wss": config.websocket.tls_listen,
        "mqtt": config.mqtt.listen,
        "osc": config.osc.listen,
        "oscquery": config.oscquery.listen if config.osc.listen is not None else None,
    }
    found = []
    for scheme, listen in listeners.items():
        if listen is not None and listen.port:
            host = listen.host if _is_address(listen.host) else "::"
            found.append(f"{scheme}://{f'[{host}]' if ':' in host else host}:{listen.port}")
    return found


def files(config: Config, *, router_id: str = "", fingerprint: str = "") -> dict[str, str]:
    """The files by name."""
    addresses = addresses_of(config)
    bound = ports(addresses)
    said = described(
        config.name, ws_port=bound.get("ws", 0), tls_port=bound.get("wss", 0), router_id=router_id,
        fingerprint=fingerprint,
    )  # fmt: skip
    made = {}
    for service in services(addresses, said):
        made[f"{PREFIX}{service.type.strip('_').replace('._', '-')}{SUFFIX}"] = _file(config.name, service)
    return made


def write(directory: Path, made: Mapping[str, str]) -> None:
    """Have these files in the directory, and none of an earlier configuration. Raises OSError."""
    directory.mkdir(parents=True, exist_ok=True)
    for path in directory.glob(f"{PREFIX}*{SUFFIX}"):
        if path.name not in made:
            path.unlink()
    for name, text in made.items():
        temporary = directory / f".{name}.new"
        temporary.write_text(text)
        temporary.chmod(0o644)
        os.replace(temporary, directory / name)


def _file(name: str, service: Service) -> str:
    # A percent sign begins a specifier there, and a line with a backslash at its end goes on with the next one.
    label = _printable(name).encode()[:MAX_LABEL_BYTES].decode("utf-8", "ignore").strip().rstrip("\\ ") or "clasp-edge"
    lines = ["[Service]", f"Name={label.replace('%', '%%')}", f"Type={service.type}", f"Port={service.port}"]
    if service.text:
        lines.append("TxtText=" + " ".join(_quoted(f"{key}={value}") for key, value in service.text.items()))
    return "\n".join(lines) + "\n"


def _printable(text: str) -> str:
    """Without what ends a line."""
    return "".join(character for character in text if character.isprintable())


def _quoted(text: str) -> str:
    """One word, whatever is in it (systemd.syntax(7))."""
    return '"' + _printable(text).replace("\\", "\\\\").replace('"', '\\"') + '"'


def _is_address(host: str) -> bool:
    try:
        ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return True
