"""HELLO: who the client is, WELCOME, and the state as it stands (router.md 1.4)."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from clasp_edge.callbacks import call_each
from clasp_edge.router.access import Refused
from clasp_edge.router.link import CloseCode
from clasp_edge.router.principal import principal_of
from clasp_edge.router.quota import no_session
from clasp_edge.router.snapshot import EVERYTHING, snapshot_job
from clasp_edge.wire import ErrorCode, Hello, Snapshot, Welcome, encode
from clasp_edge.wire.enums import BARE, FEATURE_BITS
from clasp_edge.wire.extensions import with_extensions

if TYPE_CHECKING:
    from clasp_edge.router.session import Envelope, Session

log = logging.getLogger("clasp_edge.router")

FEATURES = ("param", "event", "stream", "gesture", "timeline")
PROTOCOL_VERSION = 1

MAX_NAME_CHARACTERS = 256
"""How much of a client's name is kept: enough to tell clients apart, not enough to fill memory and logs."""


def handle_hello(session: Session, message: Hello, envelope: Envelope) -> None:
    """Admit the client. A second HELLO updates the same session: name, features, credentials; subscriptions stay."""
    router = session.router
    before, moves = session.identity, False
    if router.authenticator is not None:
        try:
            identity = router.authenticator.validate(message.token or "", session.link.remote)
        except Refused as refusal:
            session.error(refusal.code, refusal.text)
            # The trail has it, and counts who goes on: a line for each guess would be the guesser's to make.
            session.close(CloseCode.POLICY_VIOLATION, refusal.text, logging.DEBUG)
            return
        changed = identity != before
        moves = session.greeted and principal_of("", identity) != principal_of("", before)
        session.grant(identity)
        if changed and session.greeted:
            call_each(router.on_regranted, session)
            if session.closing:
                return
        if changed:
            router.trail.note("login", identity, remote=session.link.remote, client=message.name[:MAX_NAME_CHARACTERS])
    full = None if session.greeted and not moves else no_session(router.places, session.identity)
    if full is not None:
        session.error(ErrorCode.RATE_LIMITED, full)
        session.close(CloseCode.POLICY_VIOLATION, full)
        return
    if not (router.readmit(session, before) if moves else session.greeted or router.admit(session)):
        session.close(CloseCode.TRY_AGAIN_LATER, "too many sessions")
        return
    first = not session.greeted
    session.name = message.name[:MAX_NAME_CHARACTERS]
    session.features = tuple(feature for feature in FEATURE_BITS if feature in message.features)
    session.greeted = True
    if first:
        log.info("%r: connected", session)
    welcome = encode(
        Welcome(
            version=PROTOCOL_VERSION,
            session=session.id,
            name=router.config.name,
            features=FEATURES,
            time=router.clock.wall_us(),
        )
    )
    session.send(with_extensions(welcome) if router.extensions and "federation" in session.features else welcome)
    # Who shows a part of the state subscribes to that, and is not sent all of it (router.md 1.4).
    if BARE in message.features:
        session.reply(Snapshot(params=()))
    else:
        session.start_job(snapshot_job(session, EVERYTHING, even_if_empty=True))
    if first:
        call_each(router.on_admitted, session)
