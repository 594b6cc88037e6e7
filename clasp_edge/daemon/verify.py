"""Loads a configuration and reads the patterns and scopes in it, so that no start or reload can fail over them later.

`config` knows their outline only; whether a pattern really is one is known to `wire` and `security`. Opens nothing and
changes nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from clasp_edge.config.load import ConfigError, Problem, load_with_origins
from clasp_edge.config.model import Config
from clasp_edge.config.sources import forget_files
from clasp_edge.daemon.claimed_config import with_claim
from clasp_edge.daemon.no_collection import no_collection
from clasp_edge.daemon.rules_config import check_configured, has_rules
from clasp_edge.daemon.secret_files import with_secrets
from clasp_edge.daemon.settings_file import NAME as SETTINGS
from clasp_edge.daemon.settings_file import as_sets, read_settings
from clasp_edge.security.kept_file import KeptFileError
from clasp_edge.security.scope import Scope, ScopeError
from clasp_edge.security.token_file import TokenFile, TokenFileError
from clasp_edge.security.user_file import UserFile
from clasp_edge.wire.pattern import Pattern, PatternError

log = logging.getLogger("clasp_edge")


def load_verified(path: Path | None = None, sets: Sequence[str] = ()) -> Config:
    """As `load_config`, with what was changed on the page on top of the files, and everything known to be usable. What
    was changed on the page and does not go with the files (any more) is left out, and the log says so. Raises
    ConfigError."""
    try:
        return _load_verified(path, sets)
    finally:
        forget_files()


def _load_verified(path: Path | None, sets: Sequence[str]) -> Config:
    # Where the settings are is all that is asked of the first look; what is in the files is verified once.
    with no_collection():
        data_dir = load_with_origins(path, sets)[0].data_dir
    try:
        if settings := read_settings(data_dir):
            return load_with_settings(path, sets, settings)
    except (KeptFileError, ConfigError) as error:
        config = load_with_settings(path, sets, {})
        log.error("settings of the page are left out: %s", error)
        return config
    return load_with_settings(path, sets, {})


def load_with_settings(path: Path | None, sets: Sequence[str], settings: Mapping[str, Any]) -> Config:
    """As `load_verified`, with these settings of the page. Raises ConfigError."""
    found: list[tuple[str, str]] = []
    with no_collection():
        config, origin_of = load_with_origins(path, sets, as_sets(settings), SETTINGS)
        config = with_secrets(with_claim(config), found)
        problems = [Problem(origin_of(key), key, sentence) for key, sentence in (*found, *_unreadable(config))]
    if problems:
        raise ConfigError(problems)
    return config


def refuse_unusable_certificate(path: Path | None, config: Config) -> None:
    """Refuse a certificate that is configured and with which no start would work. Not part of every load: a start says
    it itself, and a reload keeps the certificate that it has. Raises ConfigError."""
    if not config.tls.certificate:
        return
    from clasp_edge.daemon.certificate import fault_of_pair

    base = path.parent if path else Path()
    if fault := fault_of_pair(config, base):
        raise ConfigError([Problem("", "tls.certificate", fault)])


def _unreadable(config: Config) -> Iterator[tuple[str, str]]:
    """(key path, sentence) for each pattern and scope that cannot be read."""
    for index, rule in enumerate(config.state.strategy):
        try:
            Pattern(rule.pattern.encode())
        except PatternError as error:
            yield f"state.strategy[{index}].pattern", str(error)
    for index, token in enumerate(config.security.token):
        yield from _unreadable_scopes(f"security.token[{index}].scopes", token.scopes)
    if config.security.certificate and not config.tls.client_ca:
        yield "security.certificate", "needs tls.client_ca, which says whose certificates are believed"
    for index, certificate in enumerate(config.security.certificate):
        yield from _unreadable_scopes(f"security.certificate[{index}].scopes", certificate.scopes)
    for index, network in enumerate(config.security.network):
        yield from _unreadable_scopes(f"security.network[{index}].scopes", network.scopes)
    yield from _unreadable_scopes("osc.scopes", config.osc.scopes)
    for index, target in enumerate(config.osc.target):
        for at, pattern in enumerate(target.patterns):
            try:
                Pattern(pattern.encode())
            except PatternError as error:
                yield f"osc.target[{index}].patterns[{at}]", str(error)
    for name, bridge in config.bridge.items():
        for index, part in enumerate(bridge.map):
            try:
                Pattern(part.address.encode())
            except PatternError as error:
                yield f"bridge.{name}.map[{index}].address", str(error)

    yield from _nobody(config)
    yield from _wrong_rules(config)


def _nobody(config: Config) -> Iterator[tuple[str, str]]:
    """A door that nobody could open, or that somebody believes to be locked."""
    if config.security.mode == "open" and config.security.token:
        yield (
            "security.token",
            'tokens lock nothing while security.mode is "open": set security.mode = "authenticated", or take them out',
        )
    if config.security.mode != "authenticated" or _has_key(config):
        return
    try:
        if TokenFile(config.data_dir).read() or UserFile(config.data_dir).read():
            return
        reason = "without any token would let nobody in"
    except TokenFileError as error:
        reason = f"cannot be meant: {error}"
    yield "security.mode", f'"authenticated" {reason}; make one with: clasp-edge token new NAME --scope "admin:/**"'


def _has_key(config: Config) -> bool:
    """Whether the configuration itself lets somebody in."""
    security = config.security
    return bool(security.token or security.network or security.trust_anchors or security.certificate)


def _wrong_rules(config: Config) -> Iterator[tuple[str, str]]:
    for index, name in enumerate(config.rules.files):
        if not Path(name).is_absolute():
            yield f"rules.files[{index}]", f'must be a whole path such as "/etc/clasp-edge/rules.json", not "{name}"'
            return
    if not has_rules(config):
        return
    rules, problems, _ = check_configured(config)
    yield from problems
    for rule in rules:
        yield from _unreadable_scopes(f"{rule.origin}.scopes", rule.scopes)


def _unreadable_scopes(key: str, scopes: Sequence[str]) -> Iterator[tuple[str, str]]:
    for index, scope in enumerate(scopes):
        try:
            Scope.parse(scope)
        except ScopeError as error:
            yield f"{key}[{index}]", str(error)
