"""Where things lie on the board. Everything hangs below one directory, so that tests can use another than "/"."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Places:
    """The board's directories and files."""

    root: Path = Path("/")

    @property
    def firmware(self) -> Path:
        """The boot partition, which any laptop can read and write."""
        return self.root / "boot/firmware"

    @property
    def slot_state(self) -> Path:
        return self.firmware / "slot.txt"

    @property
    def data(self) -> Path:
        """The partition that survives everything."""
        return self.root / "data"

    @property
    def accepted(self) -> Path:
        """The settings in force: copies of files from the card that were found to be right."""
        return self.data / "settings"

    @property
    def run(self) -> Path:
        return self.root / "run/clasp-edge-board"

    @property
    def boot(self) -> Path:
        """What the first stage has found: booted=, slot=, trying=, failed=, disk=, partition=."""
        return self.run / "boot"

    @property
    def problems(self) -> Path:
        """One sentence for each thing that is wrong."""
        return self.run / "problems"

    @property
    def release(self) -> Path:
        """What this system is, as JSON."""
        return self.root / "usr/lib/clasp-edge-board/release.json"

    @property
    def kernel(self) -> Path:
        """The release of the kernel that runs."""
        return self.root / "proc/sys/kernel/osrelease"

    @property
    def update_key(self) -> Path:
        return self.root / "usr/lib/clasp-edge-board/update.pub"

    @property
    def update_keys(self) -> list[Path]:
        """Whose updates are believed: of the maker, and of the second key for the day on which the first is lost."""
        recovery = self.update_key.with_name("recovery.pub")
        return [self.update_key, recovery] if recovery.exists() else [self.update_key]

    @property
    def daemon_directory(self) -> Path:
        """The daemon's own, from where it also reads what its configuration names by `tls/...`."""
        return self.root / "etc/clasp-edge"

    @property
    def daemon_config(self) -> Path:
        """Where the card's configuration goes."""
        return self.daemon_directory / "conf.d/50-board.toml"


def read_fields(path: Path) -> dict[str, str]:
    """The lines KEY=VALUE of a file, the first of two with one key as in initramfs/slots.sh; nothing if unreadable."""
    try:
        text = path.read_text(errors="replace")
    except OSError:
        return {}
    lines = (line for line in text.splitlines() if "=" in line and not line.startswith("#"))
    found: dict[str, str] = {}
    for key, value in (line.split("=", 1) for line in lines):
        found.setdefault(key.strip(), value.strip())
    return found
