"""What is allowed in a configuration and still deserves a sentence: said by `check`, at each start and after a reload.

Looks at files and texts only; opens nothing.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from ipaddress import ip_address
from pathlib import Path

from clasp_edge.config.build import SECRET_KEYS
from clasp_edge.config.endpoint import parse_endpoint
from clasp_edge.config.listen import Listen
from clasp_edge.config.model import Config
from clasp_edge.config.sources import DROP_INS, SUFFIX
from clasp_edge.daemon.left_out import left_out
from clasp_edge.daemon.out_of_reach import out_of_reach
from clasp_edge.daemon.secret_files import files_of

SHORTEST_TOKEN = 16
MOST_NAMED = 20
EXAMPLES = frozenset({"replace-me-by-a-long-random-text", "changeme", "secret", "token", "password"})


def cautions(config: Config, path: Path | None, sets: Sequence[str] = ()) -> list[str]:
    """One sentence for each; `path` is the main file, None for the embedded defaults; `sets` as on the command line."""
    return [
        *_passed_over(path),
        *_files(config, path),
        *_shown(sets),
        *_tokens(config),
        *_doors(config),
        *_osc(config),
        *_uplinks(config),
    ]


def _passed_over(path: Path | None) -> Iterator[str]:
    """Files beside those that are read, and that somebody may believe to be read."""
    if path is None:
        return
    try:
        names = sorted(os.listdir(path.parent / DROP_INS))
    except OSError:
        return
    for name in names[:MOST_NAMED]:
        if not name.endswith(SUFFIX):
            yield f"{path.parent / DROP_INS / name}: not read, its name does not end in {SUFFIX}"


def _files(config: Config, path: Path | None) -> Iterator[str]:
    """Files that hold secrets and can be read by everybody."""
    files = list(files_of(config))
    if path is not None and _holds_secrets(config):
        directory = path.parent / DROP_INS
        files += [path, *(sorted(directory.glob(f"*{SUFFIX}")) if directory.is_dir() else [])]
    for file in dict.fromkeys(files):
        try:
            mode = file.stat().st_mode
        except OSError:
            continue
        if mode & 0o004:
            yield f"{file}: holds secrets and everybody on this machine may read it: chmod o-r {file}"


def _shown(sets: Sequence[str]) -> Iterator[str]:
    """Secrets on the command line."""
    for text in sets:
        key = text.partition("=")[0].strip()
        if key.rpartition(".")[2] in SECRET_KEYS:
            yield f"--set {key}: everybody on this machine sees it in the list of processes; {key}_file names a file"


def _holds_secrets(config: Config) -> bool:
    return bool(
        any(not token.token_file for token in config.security.token)
        or (config.federation.pair.token and not config.federation.pair.token_file)
        or any(uplink.token and not uplink.token_file for uplink in config.uplink.values())
        or any(bridge.password and not bridge.password_file for bridge in config.bridge.values())
    )


def _tokens(config: Config) -> Iterator[str]:
    for index, entry in enumerate(config.security.token):
        if entry.token.lower() in EXAMPLES:
            yield f"security.token[{index}].token: is the one of the example, which everybody knows"
        elif len(entry.token) < SHORTEST_TOKEN:
            yield (
                f"security.token[{index}].token: has {len(entry.token)} characters and can be guessed; "
                f"make one with: clasp-edge token new NAME --scope ..."
            )


def _doors(config: Config) -> Iterator[str]:
    """Listeners through which tokens travel in clear, or through which everybody gets in from everywhere."""
    doors = (
        ("websocket", config.websocket.listen),
        ("tcp", config.tcp.listen),
        ("mqtt", config.mqtt.listen),
    )
    for name, listen in doors:
        if listen is None or _is_loopback(listen.host):
            continue
        if config.security.mode == "authenticated":
            yield f"{name}.listen {listen}: tokens travel in clear there; {name}.tls_listen is encrypted"
        elif _is_public(listen):
            yield f'{name}.listen {listen}: a public address, and security.mode is "open": everybody may do everything'


def _osc(config: Config) -> Iterator[str]:
    """Devices that nobody has given anything to."""
    named = config.security.network or any(device.scopes for device in config.osc.device)
    locked = config.security.mode == "authenticated" and config.osc.listen is not None
    if locked and not config.osc.scopes and not named:
        yield "OSC devices may do nothing: osc.scopes is empty and security.mode is authenticated"


OPEN = "the router is open: everybody on the network may do everything; claim it with: clasp-edge claim"


def is_open_to_others(config: Config) -> bool:
    """Whether others than this machine reach it, and are asked for nothing."""
    if config.security.mode != "open":
        return False
    parts = (config.websocket, config.tcp, config.mqtt)
    listens = [*(part.listen for part in parts), *(part.tls_listen for part in parts), config.osc.listen]
    return any(listen is not None and not _is_loopback(listen.host) for listen in listens)


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host.partition("%")[0]).is_loopback
    except ValueError:
        return False


def _is_public(listen: Listen) -> bool:
    try:
        return ip_address(listen.host.partition("%")[0]).is_global
    except ValueError:
        return False


def _uplinks(config: Config) -> Iterator[str]:
    for name, uplink in config.uplink.items():
        for url in uplink.urls:
            endpoint = parse_endpoint(url)
            if uplink.token and not endpoint.tls and not _is_loopback(endpoint.host):
                yield f"uplink.{name}.token: travels in clear to {endpoint}; wss:// is encrypted"
    yield from _pair(config)
    yield from left_out(config)
    yield from out_of_reach(config)


def _pair(config: Config) -> Iterator[str]:
    pair = config.federation.pair
    if not pair.on:
        return
    if pair.url and pair.token:
        endpoint = parse_endpoint(pair.url)
        if not endpoint.tls and not _is_loopback(endpoint.host):
            yield f"federation.pair.token: travels in clear to {endpoint}; wss:// is encrypted"
    lacks = [f"journal.signals lacks {name}" for name in ("event", "timeline") if name not in config.journal.signals]
    if config.journal.mode == "strict" and "param" not in config.journal.signals:
        lacks.append("journal.signals lacks param")
    if "/**" not in config.journal.patterns:
        lacks.append("journal.patterns is not everything")
    if lacks:
        yield f"federation.pair: what the log does not keep may be lost with a hub: {', '.join(lacks)}"
