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

import logging
import math
from asyncio import TimerHandle
from collections.abc import Callable, Mapping
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


class Settings:
    """Handles the request. `load(settings)` reads the configuration with these settings and raises ConfigError;
    `reload(settings, reason)` takes it over (None: with those that are kept); `restore(config, reason)` goes back to
    one that was in force, whatever the files say by now."""

    def __init__(
        self,
        router: Router,
        load: Callable[[Mapping[str, Any]], Config],
        reload: Callable[[Mapping[str, Any] | None, str], Mapping[str, Any]],
        restore: Callable[[Config, str], object],
    ) -> None:
        self._router = router
        self._load = load
        self._reload = reload
        self._restore = restore
        self._without: Config | None = None
        """What is in force without the trial, while there is one."""
        self._trial: dict[str, Any] | None = None
        self._timer: TimerHandle | None = None

    @property
    def on_trial(self) -> Mapping[str, Any] | None:
        """The settings that hold until somebody says otherwise; None where nothing is tried."""
        return self._trial

    def stop(self) -> None:
        """Forget what is on trial."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._trial = self._without = None

    def amend(self, change: Callable[[Config], Config]) -> None:
        """Something is in force for good that is in no file of the configuration: after the trial as well."""
        if self._without is not None:
            self._without = change(self._without)

    def files_changed(self) -> None:
        """The files were read again during a trial, and are right: they count after it."""
        if self._trial is not None:
            try:
                self._without = self._load(self._kept())
            except ConfigError as error:
                log.error("settings: what is in force without the trial stays as it was before it: %s", error)

    def __call__(self, request: Mapping[str, Any]) -> dict[str, Any]:
        try:
            match request.get("action", "show"):
                case "show":
                    return self._show()
                case "check":
                    return self._described(self._changed(request))
                case "try":
                    return self._try(self._changed(request), _confirm_s(request))
                case "confirm":
                    return self._confirm()
                case "undo":
                    return self._undo("on request")
        except KeptFileError as error:
            raise Refused("settings", str(error)) from None
        except ConfigError as error:
            problems = [f"{problem.key}: {problem.message}" for problem in error.problems]
            raise Refused("wrong-settings", "; ".join(problems)[:2000], problems=problems[:20]) from None
        raise Refused("bad-request", 'settings takes "action": show, check, try, confirm or undo')

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

    def _described(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """What would be different. Raises ConfigError."""
        new = self._load(settings)
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

    def _try(self, settings: dict[str, Any], confirm_s: float) -> dict[str, Any]:
        described = self._described(settings)
        before = self._router.config if self._without is None else self._without
        done = self._reload(settings, "settings on trial")
        if done["problems"]:
            raise Refused("wrong-settings", "; ".join(done["problems"]), problems=done["problems"])
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

    def _confirm(self) -> dict[str, Any]:
        if self._trial is None:
            raise Refused("no-trial", "nothing is on trial: it was confirmed, or taken back after its time")
        write_settings(self._router.config.data_dir, self._trial)
        self.stop()
        log.warning("settings: confirmed, and kept")
        return {"kept": True}

    def _expired(self, confirm_s: float) -> None:
        self._undo(f"not confirmed within {confirm_s:g} s")

    def _undo(self, why: str) -> dict[str, Any]:
        before, was = self._without, self._trial is not None
        self.stop()
        if was:
            log.warning("settings: taken back: %s", why)
            done = self._reload(None, "settings taken back")
            if done["problems"] and before is not None:
                # The files have become wrong meanwhile; that must not keep what nobody has confirmed.
                self._restore(before, "settings taken back, the files are wrong")
        return {"undone": was}


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
