"""The process: builds the parts from the configuration, starts and stops them in order, and minds the signals.

Exit status 0 after SIGTERM or SIGINT, 2 when it cannot start; then nothing is left half-started.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import resource
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import uvloop

from clasp_edge.config.load import ConfigError
from clasp_edge.config.model import Config
from clasp_edge.config.reload import reloadable_changes, reloaded
from clasp_edge.config.sources import drop_ins
from clasp_edge.daemon import logs
from clasp_edge.daemon.access import AccessPart
from clasp_edge.daemon.auth import TokenAuthenticator
from clasp_edge.daemon.cautions import OPEN, cautions, is_open_to_others
from clasp_edge.daemon.claimed_config import claimed
from clasp_edge.daemon.greeting import greeting
from clasp_edge.daemon.no_collection import no_collection
from clasp_edge.daemon.part import CannotStart
from clasp_edge.daemon.parts import Parts
from clasp_edge.daemon.reloads import Done, Reloads, read_aside
from clasp_edge.daemon.rules_config import has_many_rules
from clasp_edge.daemon.verify import load_verified, load_with_settings, refuse_unusable_certificate
from clasp_edge.dataplane.system import give_memory_back
from clasp_edge.router.router import Router
from clasp_edge.security.claim_file import Claim
from clasp_edge.security.known_clock import KnownClock
from clasp_edge.security.trail import Trail
from clasp_edge.transports.bind import BindError

if TYPE_CHECKING:
    from clasp_edge.daemon.service import Service
    from clasp_edge.daemon.settings import Settings

log = logging.getLogger("clasp_edge")

EXIT_CANNOT_START = 2
STOP_TIMEOUT_S = 1.5
"""How long clients have to take what is queued and answer the close, before the process ends anyway."""


def run(config: Config, config_path: Path | None, sets: list[str]) -> int:
    """Run until a signal ends it; returns the exit status."""
    logs.set_up(config.log.level)
    _raise_file_limit()
    # Threads of the loop's, which are made when they are needed: half of them may look up names at a time, and a name
    # that nobody answers for takes one for 15 s.
    os.environ.setdefault("UV_THREADPOOL_SIZE", "16")
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(Daemon(config, config_path, sets).run())


def let_go_of_ports() -> None:
    """The start has failed before there was a `Service`: what the service manager holds for us answers nobody."""
    if "NOTIFY_SOCKET" in os.environ:
        from clasp_edge.daemon.socket_activation import let_go

        let_go()


def _raise_file_limit() -> None:
    # One descriptor per connection, and one more for each slow one.
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


class Daemon:
    """One running clasp-edge: the router, its parts (`daemon.part`), and the service manager if there is one."""

    def __init__(self, config: Config, config_path: Path | None, sets: list[str]) -> None:
        self._config = config
        self._config_path = config_path
        self._sets = sets
        self._clock = KnownClock(config.data_dir)
        self._trail = Trail(self._clock)
        self._authenticator: TokenAuthenticator | None = None
        self._stopping = asyncio.Event()
        self._service: Service | None = None
        self._settings: Settings | None = None
        self._changes = 0
        """How often what is in force has changed: what was read before that is not taken over after it."""
        self._without_trial: Config | None = None
        """What a reload has read without the settings that are on trial."""

    async def run(self) -> int:
        """Start everything, wait for the end, stop everything; returns the exit status."""
        config = self._config
        if config.security.mode == "authenticated":
            self._authenticator = TokenAuthenticator(config, self._clock, self._trail)
        self._router = Router(config, asyncio.get_running_loop(), self._clock, self._authenticator)
        self._router.trail = self._trail
        self._reloads = Reloads(self._router.loop, self._begin_reading, self._has_read, self._reload_over)
        try:
            self._parts = Parts(self._router, config, self._access())
        except CannotStart as error:
            let_go_of_ports()
            return _cannot_start(error)
        if "NOTIFY_SOCKET" in os.environ or "LISTEN_PID" in os.environ:
            from clasp_edge.daemon.service import Service

            self._service = Service(self._router, self._parts.federation)
        try:
            addresses = await self._start()
        except (CannotStart, BindError) as error:
            if self._service is not None:
                self._service.failed()
            self._stop_parts()
            self._close_parts()
            return _cannot_start(error)
        self._ready(addresses)
        await self._stopping.wait()
        if self._service is not None:
            self._service.stopping()
        self._stop_parts()
        self._router.stop()
        await self._drain()
        self._close_parts()
        return 0

    def _access(self) -> AccessPart:
        return AccessPart(
            self._router, self._config, self._clock, self._trail, self._authenticator, self._apply_config, self._lock
        )

    def _lock(self, claim: Claim) -> None:
        """The box was claimed: ask for tokens from now on."""
        self._config = claimed(self._config, claim)
        self._changes += 1
        if self._settings is not None:
            self._settings.amend(lambda config: claimed(config, claim))
        self._authenticator = TokenAuthenticator(self._config, self._clock, self._trail)
        self._router.authenticator = self._parts.access.authenticator = self._authenticator
        self._apply_config()

    async def _start(self) -> list[str]:
        addresses: list[str] = []
        for part in self._parts.all:
            addresses += await part.start()
        return addresses

    def _ready(self, addresses: list[str]) -> None:
        loop = self._router.loop
        loop.add_signal_handler(signal.SIGTERM, self._stopping.set)
        loop.add_signal_handler(signal.SIGINT, self._stopping.set)
        # The loop would serve every socket that is ready before it tells: who was revoked could still have a word.
        loop.add_signal_handler(signal.SIGHUP, self._router.core.act_on_signal)
        self._router.core.first_on_signal(signal.SIGHUP, self._hang_up)
        self._parts.console.addresses = addresses
        self._parts.console.reload = lambda: self._reload("reload on request")
        self._parts.console.settings = self._change_settings
        for part in self._parts.all:
            part.ready()
        # What start-up made lives as long as the process: no collection needs to look at it again.
        gc.collect()
        gc.freeze()
        give_memory_back()
        self._warn()
        socket_path = self._parts.console.socket_path
        lines = greeting(self._config, addresses, self._parts.journal_text, socket_path, self._files())
        _say([*lines, "ready " + " ".join(addresses)])
        if self._service is not None:
            self._service.ready()

    def _files(self) -> list[Path]:
        """Of the configuration, in the order in which they were read."""
        return [] if self._config_path is None else [self._config_path, *drop_ins(self._config_path)]

    def _warn(self) -> None:
        if is_open_to_others(self._config):
            log.warning("%s", OPEN)
        for caution in cautions(self._config, self._config_path, self._sets):
            log.warning("%s", caution)

    def _stop_parts(self) -> None:
        self._reloads.stop()
        if self._settings is not None:
            self._settings.stop()
        for part in reversed(self._parts.all):
            part.stop()

    def _close_parts(self) -> None:
        self._trail.sweep(everything=True)
        for part in reversed(self._parts.all):
            part.close()

    async def _drain(self) -> None:
        """Give clients the time to take what is queued for them and to answer the close."""
        deadline_s = self._clock.monotonic_s() + STOP_TIMEOUT_S
        while (self._router.connections or self._router.guests) and self._clock.monotonic_s() < deadline_s:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        for session in list(self._router.connections):
            session.link.abort()
        await asyncio.sleep(0)
        self._router.endings.finish()

    def _apply_config(self) -> None:
        """Have the router and every part look at the configuration, and at who may do what, again."""
        self._router.apply_config(self._config)
        for part in self._parts.all:
            part.apply_config(self._config)

    def _hang_up(self) -> None:
        """SIGHUP has come. Where the files are soon read, it is in force before anything that came after it is looked
        at: it may revoke tokens, and who sends it and goes on expects what the files say."""
        if has_many_rules(self._config):
            self._reload("SIGHUP")
        else:
            self._reloads.at_once("SIGHUP")

    def _reload(self, reason: str) -> asyncio.Future[Done]:
        """SIGHUP has come, or somebody asks for it: keys that are in force now, that need a restart, and problems."""
        return self._reloads.ask(reason)

    def _begin_reading(self) -> Callable[[], Config]:
        if self._service is not None:
            self._service.reloading()
        self._read_at = self._changes
        settings = None if self._settings is None else self._settings.on_trial
        in_force = self._config
        self._without_trial = None

        def read() -> Config:
            if settings is not None:
                # The files count after the trial as well, as they are now. First: the rules that were read last are
                # those that are at hand.
                with contextlib.suppress(ConfigError):
                    self._without_trial = load_verified(self._config_path, self._sets)
            return self._read(settings, in_force)

        return read

    def _has_read(self, found: Config | ConfigError, reason: str, done: Callable[[Done], None]) -> bool:
        """What a reload has read. False where it was claimed, or settings were changed, meanwhile."""
        if self._read_at != self._changes:
            return False
        told = self._not_changed(found) if isinstance(found, ConfigError) else self._apply(found, reason)
        if self._settings is not None and self._without_trial is not None and not told["problems"]:
            self._settings.files_changed(self._without_trial)
        self._without_trial = None
        self._parts.rules.when_in_force(lambda: done(told))
        return True

    def _reload_over(self) -> None:
        # Whatever happened: who is not told waits for ever (systemctl reload, and everything that comes after it).
        if self._service is not None:
            self._service.reloaded()

    def _read(self, settings: Mapping[str, Any] | None, in_force: Config) -> Config:
        """The configuration as the files say it now, with these settings of the page; None: with those that are kept.
        In any thread. Raises ConfigError."""
        with no_collection():
            if settings is None:
                new = load_verified(self._config_path, self._sets)
            else:
                new = load_with_settings(self._config_path, self._sets, settings)
            if new.tls != in_force.tls:  # else the one in use goes on, and what is wrong with its files is logged
                refuse_unusable_certificate(self._config_path, new)
            if has_many_rules(new):
                # They live as long as this configuration: no collection needs to look at them, which would take long.
                gc.freeze()
        return new

    def _change_settings(self, request: Mapping[str, Any]) -> Mapping[str, Any] | asyncio.Task[Mapping[str, Any]]:
        """A request about what is changed on the page."""
        if self._settings is None:
            from clasp_edge.daemon.settings import Settings

            self._settings = Settings(self._router, self._read_for_settings, self._apply)
        return self._settings(request)

    async def _read_for_settings(self, settings: Callable[[], Mapping[str, Any] | None]) -> Config:
        """The configuration with these settings of the page; None: with those that are kept. Read in a thread, and
        again where something else has come into force meanwhile. Raises ConfigError."""
        while True:
            changes = self._changes
            try:
                new = await read_aside(partial(self._read, settings(), self._config))
            except ConfigError:
                if changes == self._changes:
                    raise
                continue
            if changes == self._changes:
                return new

    @staticmethod
    def _not_changed(error: ConfigError) -> dict[str, list[str]]:
        log.error("reload: the configuration was not changed: %s", error)
        return {"applied": [], "restart": [], "problems": [str(problem) for problem in error.problems]}

    def _apply(self, new: Config, reason: str) -> dict[str, list[str]]:
        """Take over what can change without dropping a client, and say what cannot."""
        applied, restart = reloadable_changes(self._config, new)
        self._config = config = reloaded(self._config, new)
        self._changes += 1
        logging.getLogger().setLevel(config.log.level.upper())
        if self._authenticator is not None:
            self._authenticator.reload(config)
        self._apply_config()
        self._warn()
        log.warning("reload: applied: %s", ", ".join(applied) or "nothing")
        if applied:
            self._trail.note("configuration changed", target=", ".join(applied), reason=reason)
        if restart:
            log.warning("reload: needs a restart: %s", ", ".join(restart))
        return {"applied": applied, "restart": restart, "problems": []}


def _say(lines: Sequence[str]) -> None:
    try:
        for line in lines:
            print(line)
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError as error:
        # Nobody reads it, or the disk with the log is full: no reason not to run, nor to complain of it at the end.
        log.warning("what is printed at the start cannot be written: %s", error.strerror or error)
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _cannot_start(error: OSError) -> int:
    print(f"clasp-edge: {error.strerror or error}", file=sys.stderr)
    return EXIT_CANNOT_START
