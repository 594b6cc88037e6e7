"""A client that writes to some addresses as long as it is told to, and knows what was acknowledged."""

from __future__ import annotations

import threading
import time
from types import TracebackType
from typing import Self

from support.live import eventually, put

from clasp_edge import wire


class Load:
    """Writes 0, 1, 2, ... to the addresses in turn. A context manager; on exit every write has been acknowledged."""

    def __init__(self, client: object, addresses: list[str], pause_s: float = 0.001) -> None:
        self._client = client
        self._addresses = addresses
        self._pause_s = pause_s
        self._stopping = threading.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run)
        self.written: dict[str, list[int]] = {address: [] for address in addresses}

    @property
    def count(self) -> int:
        """Writes acknowledged so far."""
        return sum(map(len, self.written.values()))

    def more(self, count: int) -> None:
        """Wait until so many further writes have been acknowledged."""
        wanted = self.count + count
        eventually(lambda: self.count >= wanted or self._error is not None)

    def newest(self) -> dict[str, int]:
        """The last value of each address."""
        return {address: values[-1] for address, values in self.written.items()}

    def _run(self) -> None:
        number = 0
        try:
            while not self._stopping.is_set():
                for address in self._addresses:
                    put(self._client, address, number)  # type: ignore[arg-type]
                    self.written[address].append(number)
                    time.sleep(self._pause_s)
                number += 1
        except BaseException as error:
            self._error = error

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping.set()
        self._thread.join()
        if self._error is not None:
            raise self._error


def first_seen(messages: list[wire.Message]) -> dict[str, list[wire.Value]]:
    """The values of each address in the order in which each was first seen."""
    found: dict[str, dict[wire.Value, None]] = {}
    for message in messages:
        if isinstance(message, wire.Set):
            found.setdefault(message.address, {}).setdefault(message.value)
    return {address: list(values) for address, values in found.items()}
