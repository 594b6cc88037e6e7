"""What a client has been told, collected from another thread: waited for with a bound, then compared."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

from support.client import DEFAULT_TIMEOUT_S

T = TypeVar("T")


class Received(Generic[T]):
    """A growing list that can be waited on."""

    def __init__(self) -> None:
        self._items: list[T] = []
        self._changed = threading.Condition()

    def add(self, item: T) -> None:
        with self._changed:
            self._items.append(item)
            self._changed.notify_all()

    @property
    def items(self) -> list[T]:
        """Everything so far."""
        with self._changed:
            return list(self._items)

    def clear(self) -> None:
        with self._changed:
            self._items.clear()

    def wait(self, count: int = 1, timeout: float = DEFAULT_TIMEOUT_S) -> list[T]:
        """Everything so far, once there are ``count``. Raises AssertionError that shows what there was."""
        return self._wait(lambda: len(self._items) >= count, f"{count} items", timeout)

    def wait_for(self, wanted: Callable[[T], bool], timeout: float = DEFAULT_TIMEOUT_S) -> T:
        """Return the first item that ``wanted`` accepts. Raises AssertionError that shows what there was."""
        items = self._wait(lambda: any(map(wanted, self._items)), "the item", timeout)
        return next(filter(wanted, items))

    def wait_until(self, ready: Callable[[list[T]], bool], timeout: float = DEFAULT_TIMEOUT_S) -> list[T]:
        """Everything so far, once ``ready`` accepts it. Raises AssertionError that shows what there was."""
        return self._wait(lambda: ready(self._items), "all of it", timeout)

    def _wait(self, ready: Callable[[], bool], what: str, timeout: float) -> list[T]:
        deadline_s = time.monotonic() + timeout
        with self._changed:
            while not ready():
                left_s = deadline_s - time.monotonic()
                if left_s <= 0 or not self._changed.wait(left_s):
                    raise AssertionError(f"waited {timeout:g} s for {what}; had {self._items!r}")
            return list(self._items)


def same(left: object, right: object) -> bool:
    """Equal as CLASP values where numbers have no width: 1 is 1.0, but true is not 1, and NaN is NaN."""
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    if isinstance(left, int | float) and isinstance(right, int | float):
        if left != left or right != right:
            return left != left and right != right
        return left == right and math.copysign(1, left) == math.copysign(1, right)
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(same(left[key], right[key]) for key in left)
    return type(left) is type(right) and left == right
