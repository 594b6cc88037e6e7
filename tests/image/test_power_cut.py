"""The power fails at every single step while settings are taken over: neither they nor their secrets are lost."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from clasp_board.daemon_files import CONFIG
from clasp_board.places import Places
from clasp_board.secrets import MARK
from clasp_board.settings import WIFI, take_over

STEPS = ((os, "write"), (os, "fsync"), (Path, "rename"), (Path, "unlink"))
BOTH_SECRETS = {CONFIG: '[uplink.site]\nurl = "ws://hub:7330"\nowns = ["/a/**"]\ntoken = "{} token"\n',
                WIFI: "country = DE\nname = Stage\npassword = {} password\n"}  # fmt: skip


class PowerCut(BaseException):
    """Nothing of the program runs after this."""


def cut_at(step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the `step`th change of the disk be the last thing that does not happen."""
    passed = itertools.count()

    def counted(original: Callable[..., Any]) -> Callable[..., Any]:
        def call(*given: Any, **named: Any) -> Any:
            if next(passed) >= step:
                raise PowerCut
            return original(*given, **named)

        return call

    for owner, name in STEPS:
        monkeypatch.setattr(owner, name, counted(getattr(owner, name)))


def test_at_any_step(board: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    (board.root / "usr/bin/clasp-edge").write_text("#!/bin/sh\n")  # the texts are right; that it takes no time matters
    texts = {age: {name: text.format(age) for name, text in BOTH_SECRETS.items()} for age in ("old", "new")}
    for step in range(1000):
        for path in (*board.accepted.iterdir(), *board.firmware.iterdir()):
            path.unlink()
        for name, text in texts["old"].items():
            (board.firmware / name).write_text(text)
        assert take_over(board, persistent=True) == texts["old"]
        for name, text in texts["new"].items():
            (board.firmware / name).write_text(text)
        cut = False
        with monkeypatch.context() as patch:
            cut_at(step, patch)
            try:
                take_over(board, persistent=True)
            except PowerCut:
                cut = True
        for _start in range(2):
            found = take_over(board, persistent=True)
            # Where a shorter text has been written over a longer one, blanks may be left at its end.
            assert {name: text.rstrip() + "\n" for name, text in found.items()} == texts["new"], step
        assert not board.problems.exists(), step
        for name in texts["new"]:
            on_card = (board.firmware / name).read_text()
            assert MARK in on_card
            assert "new" not in on_card, step
        if not cut:
            assert step > 20
            return
    pytest.fail("it never came to an end")
