"""The configuration of a box that somebody has claimed: tokens are asked for, whatever the file says.

Loads nothing that a command does not need: the event loop and TLS come later (daemon.no_tls).
"""

from __future__ import annotations

import logging

import msgspec

from clasp_edge.config.model import Config, Network
from clasp_edge.security.claim_file import Claim, read_claim
from clasp_edge.security.kept_file import KeptFileError

log = logging.getLogger("clasp_edge.security")


def with_claim(config: Config) -> Config:
    """The configuration as it holds on a box that may be claimed. Where the claim is unreadable, nobody is let in
    without a token: the door was locked once."""
    try:
        claim = read_claim(config.data_dir)
    except KeptFileError as error:
        log.error("%s; tokens are asked for, the networks of devices are not known", error)
        claim = Claim(0, "")
    return config if claim is None else claimed(config, claim)


def claimed(config: Config, claim: Claim) -> Config:
    """The configuration of a box that is."""
    networks = config.security.network
    if claim.networks and claim.scopes:
        networks = (*networks, Network(networks=claim.networks, scopes=claim.scopes))
    security = msgspec.structs.replace(config.security, mode="authenticated", network=networks)
    return msgspec.structs.replace(config, security=security)
