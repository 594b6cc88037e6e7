"""What a package can be made for: a Debian release and an architecture, and what follows from them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Suite:
    """A release of Debian. `glibc` is the newest interface its C library has."""

    name: str
    number: int
    python: str
    glibc: tuple[int, int]


@dataclass(frozen=True)
class Arch:
    """An architecture by its name in Debian, in GNU's world and in Python's."""

    name: str
    triplet: str
    machine: str


SUITES = {
    "bookworm": Suite("bookworm", 12, "3.11", (2, 36)),
    "trixie": Suite("trixie", 13, "3.13", (2, 41)),
}

ARCHES = {
    "amd64": Arch("amd64", "x86_64-linux-gnu", "x86_64"),
    "arm64": Arch("arm64", "aarch64-linux-gnu", "aarch64"),
}

OLDEST_MANYLINUX = 5


@dataclass(frozen=True)
class Target:
    """One package to be made."""

    suite: Suite
    arch: Arch

    @property
    def tag(self) -> str:
        """CPython's tag, as in the names of wheels."""
        return "cp" + self.suite.python.replace(".", "")

    @property
    def extension(self) -> str:
        """How a compiled module's file name ends."""
        return f".cpython-{self.suite.python.replace('.', '')}-{self.arch.triplet}.so"

    @property
    def platforms(self) -> list[str]:
        """The platform tags of wheels that run there (PEP 600), newest first; pip takes only those that are named."""
        minors = range(self.suite.glibc[1], OLDEST_MANYLINUX - 1, -1)
        legacy = ("manylinux2014", "manylinux2010", "manylinux1")
        return [f"{name}_{self.arch.machine}" for name in (*(f"manylinux_2_{minor}" for minor in minors), *legacy)]

    def version(self, upstream: str) -> str:
        """The package's version: newer in a newer release, so that an upgrade of Debian upgrades it as well."""
        return f"{upstream}+deb{self.suite.number}"
