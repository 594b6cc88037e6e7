"""Reloads of many rules: nobody waits for them, rules go on meanwhile, and the last file counts."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from support.daemon import Daemon
from support.federated import await_value, client
from support.live import eventually

from clasp_edge import wire
from clasp_edge.config.load import ConfigError
from clasp_edge.config.model import Config
from clasp_edge.console.client import ask
from clasp_edge.daemon.reloads import Done, Reloads

MANY = 1500
LIMIT_S = 60.0


def rules(said: int) -> str:
    """So many rules, the last of which says which of the files it is from."""
    elsewhere = "".join(
        f'[[rule]]\nid = "r{number}"\ntrigger = {{ type = "set", pattern = "/other/{number}/*" }}\n'
        f'do = [{{ set = "/out/{number}", value = {said} }}]\n'
        for number in range(MANY)
    )
    return (
        f'{elsewhere}[[rule]]\nid = "echo"\ntrigger = {{ type = "set", pattern = "/in" }}\n'
        f'do = [{{ set = "/answer" }}, {{ set = "/file", value = {said} }}]\n'
    )


def reload(daemon: Daemon) -> list[str]:
    applied: list[str] = ask([daemon.control_path], {"request": "reload"}, LIMIT_S)["applied"]
    return applied


def file_of(daemon: Daemon) -> Path:
    return daemon.directory / "clasp-edge.toml"


def test_rules_go_on_while_others_are_read() -> None:
    with Daemon(config=rules(1)) as daemon, client(daemon) as desk, ThreadPoolExecutor() as pool:
        file = file_of(daemon)
        file.write_text(file.read_text().replace("value = 1 }", "value = 2 }"))
        done = pool.submit(reload, daemon)
        number = 0
        while not done.done() or number < 3:
            number += 1
            desk.send(wire.Set("/in", number))
            await_value(daemon, "/answer", number, LIMIT_S)
        assert done.result() == ["rule"]
        # It has answered: the new rules are in force.
        desk.send(wire.Set("/in", "after"))
        await_value(daemon, "/answer", "after", LIMIT_S)
        await_value(daemon, "/file", 2, LIMIT_S)
        desk.send(wire.Set("/other/7/x", 1))
        await_value(daemon, "/out/7", 2, LIMIT_S)


def test_of_several_at_once_the_last_file_counts() -> None:
    with Daemon(config=rules(1)) as daemon, client(daemon) as desk, ThreadPoolExecutor() as pool:
        file = file_of(daemon)
        text = file.read_text()
        daemon.signal(signal.SIGHUP)
        asked = []
        for said in (2, 3):
            file.write_text(text.replace("value = 1 }", f"value = {said} }}"))
            asked.append(pool.submit(reload, daemon))
        for done in asked:
            done.result()
        desk.send(wire.Set("/in", 1))
        await_value(daemon, "/file", 3, LIMIT_S)


def test_a_stop_does_not_wait_for_a_reload() -> None:
    with Daemon(config=rules(1)) as daemon:
        file = file_of(daemon)
        file.write_text(file.read_text().replace("value = 1 }", "value = 2 }"))
        daemon.signal(signal.SIGHUP)
        daemon.stop()
        assert "Traceback" not in daemon.stderr
        daemon.start()


class Desk:
    """What a daemon does, without one: each reading waits until it is let go."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.read: list[int] = []
        self.taken: list[Config | ConfigError] = []
        self.refuse = 0
        self.again = asyncio.Event()
        self.gates: list[threading.Event] = []
        self.reloads = Reloads(loop, self._begin, self._take_over, lambda: None)

    def _begin(self) -> Callable[[], Config]:
        gate = threading.Event()
        self.gates.append(gate)
        if len(self.gates) == 2:
            self.again.set()

        def read() -> Config:
            gate.wait(LIMIT_S)
            self.read.append(len(self.gates))
            return Config()

        return read

    def _take_over(self, found: Config | ConfigError, reason: str, done: Callable[[Done], None]) -> bool:
        if self.refuse:
            self.refuse -= 1
            return False
        self.taken.append(found)
        done({"applied": [reason], "restart": [], "problems": []})
        return True


def test_who_asks_meanwhile_gets_one_that_begins_later() -> None:
    async def run() -> None:
        desk = Desk(asyncio.get_running_loop())
        first = desk.reloads.ask("a")
        second, third = desk.reloads.ask("b"), desk.reloads.ask("c")
        assert second is third is not first
        desk.gates[0].set()
        assert (await asyncio.wait_for(first, LIMIT_S))["applied"] == ["a"]
        assert not second.done()
        desk.gates[1].set()
        assert (await asyncio.wait_for(second, LIMIT_S))["applied"] == ["b"]
        assert len(desk.taken) == 2

    asyncio.run(run())


def test_what_changed_meanwhile_is_read_again() -> None:
    async def run() -> None:
        desk = Desk(asyncio.get_running_loop())
        desk.refuse = 1
        answer = desk.reloads.ask("a")
        desk.gates[0].set()
        await asyncio.wait_for(desk.again.wait(), LIMIT_S)
        desk.gates[1].set()
        await asyncio.wait_for(answer, LIMIT_S)
        assert len(desk.taken) == 1

    asyncio.run(run())


def test_a_fault_is_told_and_the_next_one_goes_on() -> None:
    async def run() -> None:
        def fail() -> Config:
            raise MemoryError

        found: list[Config | ConfigError] = []
        reads = [fail, Config]

        def take_over(config: Config | ConfigError, reason: str, done: Callable[[Done], None]) -> bool:
            found.append(config)
            done({"applied": [], "restart": [], "problems": []})
            return True

        over: list[int] = []
        reloads = Reloads(asyncio.get_running_loop(), lambda: reads.pop(0), take_over, lambda: over.append(1))
        assert (await asyncio.wait_for(reloads.ask("a"), LIMIT_S))["problems"]
        assert not (await asyncio.wait_for(reloads.ask("b"), LIMIT_S))["problems"]
        assert len(found) == 1
        assert len(over) == 2

    asyncio.run(run())


def test_without_a_thread_it_says_so_and_the_next_one_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    async def run() -> None:
        desk = Desk(asyncio.get_running_loop())
        with monkeypatch.context() as patched:
            patched.setattr(threading.Thread, "start", refuse)
            first = desk.reloads.ask("a")
            assert (await asyncio.wait_for(first, LIMIT_S))["problems"]
        second = desk.reloads.ask("b")
        desk.gates[1].set()
        assert (await asyncio.wait_for(second, LIMIT_S))["applied"] == ["b"]

    asyncio.run(run())


def test_reload_of_a_file_that_is_wrong_says_so_to_all() -> None:
    with Daemon(config=rules(1)) as daemon, client(daemon) as desk:
        file = file_of(daemon)
        good = file.read_text()
        file.write_text(good + "[[rule]]\n")
        answer = ask([daemon.control_path], {"request": "reload"}, LIMIT_S)
        assert any("id" in problem for problem in answer["problems"])
        desk.send(wire.Set("/in", 1))
        await_value(daemon, "/answer", 1, LIMIT_S)
        eventually(lambda: "was not changed" in daemon.stderr, LIMIT_S)
