"""Options changed from the page: checked as the files are, shown, tried for a minute, and kept if somebody says so.

{"request": "settings", "action": "show"}                    the options, their values, and what is on trial
{"action": "check", "changes": {"limits.max_sessions": 50}}  what would be different; null: as the files say
{"action": "try", "changes": {...}}                          it is in force now, and for good once confirmed;
                                                             "confirm_s" says how long to wait for that
{"action": "confirm"}   {"action": "undo"}

What is not confirmed within CONFIRM_S is taken back: a change that shuts out the page that made it undoes itself. Until
then it stands in no file, so a restart takes it back as well.
"""

from __future__ import annotations

import asyncio
import logging
import math
from asyncio import TimerHandle
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Any

from clasp_edge.config.load import ConfigError
from clasp_edge.config.manual import options
from clasp_edge.config.model import Config, leaves
from clasp_edge.config.reload import reloadable_changes
from clasp_edge.console.requests import Refused
from clasp_edge.daemon.settings_file import read_settings, toml_of, write_settings
from clasp_edge.router.router import Router
from clasp_edge.security.kept_file import KeptFileError

log = logging.getLogger("clasp_edge")

CONFIRM_S = 60.0
LONGEST_CONFIRM_S = 600.0
MOST_CHANGES = 64

Read = Callable[[Callable[[], Mapping[str, Any] | None]], Awaitable[Config]]


class Settings:
    """Handles the request. `read(settings)` reads the configuration with the settings that `settings()` tells (None:
    those that are kept) and raises ConfigError; `apply(config, reason)` takes it over. What reads is a task: thousands
    of rules take seconds on a board."""

    def __init__(self, router: Router, read: Read, apply: Callable[[Config, str], object]) -> None:
        self._router = router
        self._read = read
        self._apply = apply
        self._turn = asyncio.Lock()
        """One after the other: what is on trial changes with each."""
        self._tasks: set[asyncio.Task[Mapping[str, Any]]] = set()
        self._stopped = False
        self._without: Config | None = None
        """What is in force without the trial, while there is one."""
        self._trial: dict[str, Any] | None = None
        self._timer: TimerHandle | None = None

    @property
    def on_trial(self) -> Mapping[str, Any] | None:
        """The settings that hold until somebody says otherwise; None where nothing is tried."""
        return self._trial

    def stop(self) -> None:
        """Forget what is on trial; take over nothing any more."""
        self._stopped = True
        self._forget()
        for task in self._tasks:
            task.cancel()

    def _forget(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._trial = self._without = None

    def amend(self, change: Callable[[Config], Config]) -> None:
        """Something is in force for good that is in no file of the configuration: after the trial as well."""
        if self._without is not None:
            self._without = change(self._without)

    def files_changed(self, without: Config) -> None:
        """The files were read again during a trial, and are right: they count after it. `without` is what they say."""
        if self._trial is not None:
            self._without = without

    def __call__(self, request: Mapping[str, Any]) -> Mapping[str, Any] | asyncio.Task[Mapping[str, Any]]:
        match request.get("action", "show"):
            case "show":
                return self._show()
            case "check":
                self._changed(request)  # what is wrong without a look at the files is said at once
                return self._begin(self._check(request))
            case "try":
                self._changed(request)
                return self._begin(self._try(request, _confirm_s(request)))
            case "confirm":
                return self._begin(self._confirm())
            case "undo":
                return self._begin(self._undo("on request"))
        raise Refused("bad-request", 'settings takes "action": show, check, try, confirm or undo')

    def _begin(self, work: Coroutine[Any, Any, Mapping[str, Any]]) -> asyncio.Task[Mapping[str, Any]]:
        async def in_turn() -> Mapping[str, Any]:
            try:
                async with self._turn:
                    return await work
            except KeptFileError as error:
                raise Refused("settings", str(error)) from None
            except ConfigError as error:
                problems = [f"{problem.key}: {problem.message}" for problem in error.problems]
                raise Refused("wrong-settings", "; ".join(problems)[:2000], problems=problems[:20]) from None

        task = self._router.loop.create_task(in_turn())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(lambda done: work.close())  # one that the stop overtakes never begins
        return task

    def _kept(self) -> dict[str, Any]:
        try:
            return read_settings(self._router.config.data_dir)
        except KeptFileError as error:
            # It is in force nowhere, and the next confirmation replaces it.
            log.error("settings of the page are left out: %s", error)
            return {}

    def _show(self) -> dict[str, Any]:
        kept = self._kept()
        held = self._trial if self._trial is not None else kept
        values = leaves(self._router.config)
        return {
            "options": [
                {
                    "key": option.key,
                    "default": option.default,
                    "value": _plain(values[option.key]),
                    "set_here": option.key in held,
                    "help": option.help,
                }
                for option in options()
            ],
            "trial": self._left(),
        }

    def _left(self) -> dict[str, Any] | None:
        if self._timer is None:
            return None
        return {"left_s": round(max(0.0, self._timer.when() - self._router.loop.time()), 1)}

    def _changed(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """The settings with the changes of a request."""
        changes = request.get("changes")
        if not isinstance(changes, dict) or not 0 < len(changes) <= MOST_CHANGES:
            raise Refused("bad-request", f'"changes" is an object of 1 to {MOST_CHANGES} keys with values')
        known = {option.key for option in options()}
        settings = dict(self._trial if self._trial is not None else self._kept())
        for key, value in changes.items():
            if key not in known:
                raise Refused("unknown-option", f'"{str(key)[:80]}" is no option that can be changed here')
            if value is None:
                settings.pop(key, None)
            elif _is_value(value):
                settings[key] = value
            else:
                raise Refused("bad-request", f"{key}: a value is a text, a number, true, false or a list of texts")
        return settings

    async def _check(self, request: Mapping[str, Any]) -> dict[str, Any]:
        return self._described(await self._read(lambda: self._changed(request)))

    def _described(self, new: Config) -> dict[str, Any]:
        """What would be different."""
        applied, _ = reloadable_changes(self._router.config, new)
        before, after = leaves(self._router.config), leaves(new)
        known = {option.key for option in options()}
        return {
            "changes": [
                {"key": key, "before": toml_of(_plain(before[key])), "after": toml_of(_plain(after[key]))}
                for key in applied
                if key in known
            ]
        }

    async def _try(self, request: Mapping[str, Any], confirm_s: float) -> dict[str, Any]:
        settings: dict[str, Any] = {}

        def wanted() -> Mapping[str, Any]:
            nonlocal settings
            settings = self._changed(request)
            return settings

        new = await self._read(wanted)
        if self._stopped:
            raise Refused("not-ready", "the router is stopping")
        described = self._described(new)
        before = self._router.config if self._without is None else self._without
        self._apply(new, "settings on trial")
        self._trial, self._without = settings, before
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._router.loop.call_later(confirm_s, self._expired, confirm_s)
        log.warning(
            "settings: on trial for %g s: %s",
            confirm_s,
            ", ".join(f"{each['key']} = {each['after']}" for each in described["changes"]) or "nothing changes",
        )
        return described | {"confirm_s": confirm_s}

    async def _confirm(self) -> dict[str, Any]:
        if self._trial is None:
            raise Refused("no-trial", "nothing is on trial: it was confirmed, or taken back after its time")
        write_settings(self._router.config.data_dir, self._trial)
        self._forget()
        log.warning("settings: confirmed, and kept")
        return {"kept": True}

    def _expired(self, confirm_s: float) -> None:
        if self._timer is not None:
            timer, self._timer = self._timer, None
            self._begin(self._undo(f"not confirmed within {confirm_s:g} s", timer))

    async def _undo(self, why: str, timer: TimerHandle | None = None) -> dict[str, Any]:
        if self._trial is None or (timer is not None and self._timer is not None):
            return {"undone": False}  # it was confirmed, or tried again, while this waited for its turn
        log.warning("settings: taken back: %s", why)
        self._trial = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        try:
            before, reason = await self._read(lambda: None), "settings taken back"
        except Exception as error:
            # The files have become wrong meanwhile; that must not keep what nobody has confirmed.
            log.error("reload: the configuration was not changed: %s", error)
            before = self._router.config if self._without is None else self._without
            reason = "settings taken back, the files are wrong"
        if not self._stopped:
            self._apply(before, reason)
        self._without = None
        return {"undone": True}


def _confirm_s(request: Mapping[str, Any]) -> float:
    """How long to wait for the confirmation."""
    wanted = request.get("confirm_s", CONFIRM_S)
    if not isinstance(wanted, int | float) or isinstance(wanted, bool) or not 1 <= wanted <= LONGEST_CONFIRM_S:
        raise Refused("bad-request", f'"confirm_s" is a number of seconds from 1 to {LONGEST_CONFIRM_S:g}')
    return float(wanted)


def _is_value(value: Any) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    if isinstance(value, list):
        return len(value) <= 100 and all(isinstance(one, str) for one in value)
    return isinstance(value, bool | int | str)


def _plain(value: Any) -> Any:
    """A value of the configuration as JSON has it."""
    return list(value) if isinstance(value, tuple) else value
