"""Which board is tested, and one board for all tests that do not spoil it.

--board qemu (default) boots the image of `make image` in QEMU; --board HOST[:PORT] takes a real one, with the key that
--ssh-key names on its card. --long does what takes hours.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[1]
for directory in (PROJECT, PROJECT / "tests", PROJECT / "image/board"):
    sys.path.insert(0, str(directory))

from hw_tests.boards import Board, Ports  # noqa: E402
from hw_tests.figures import Figures  # noqa: E402
from hw_tests.qemu import QemuBoard, needed_tools  # noqa: E402
from image.paths import WORK  # noqa: E402

RESULTS = PROJECT / "build/hw-test"
CONFIG = 'name = "hardware test"\n[journal]\nmode = "strict"\n[state]\nparam_ttl_s = 0\n'

_figures = pytest.StashKey[Figures]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--board", default="qemu", help="qemu, or HOST[:PORT] of a real board's SSH")
    parser.addoption("--ssh-key", type=Path, help="private key whose public half is on the real board's card")
    parser.addoption("--long", action="store_true", help="20 power cuts instead of 3, and an hour of idleness")


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_figures] = Figures(str(config.getoption("--board")))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    figures = config.stash[_figures]
    if figures.rows:
        path = RESULTS / "figures.json"
        figures.save(path)
        terminalreporter.write_line(f"\nfigures ({figures.board}), also in {path.relative_to(PROJECT)}:")
        terminalreporter.write_line(figures.table())


@pytest.fixture(scope="session")
def figures(pytestconfig: pytest.Config) -> Figures:
    return pytestconfig.stash[_figures]


@pytest.fixture(scope="session")
def long_run(pytestconfig: pytest.Config) -> bool:
    return bool(pytestconfig.getoption("--long"))


@pytest.fixture(scope="session")
def key(pytestconfig: pytest.Config) -> Path:
    given = pytestconfig.getoption("--ssh-key")
    if given:
        return Path(given)
    path = RESULTS / "key"
    if not path.exists():
        RESULTS.mkdir(parents=True, exist_ok=True)
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", path], check=True)
    return path


@pytest.fixture(scope="session")
def image() -> Path:
    missing = needed_tools()
    if missing:
        pytest.fail(f"missing on this machine: {', '.join(missing)}; see docs/board.md")
    images = sorted(WORK.glob("clasp-edge-*-arm64*.img"))
    if not images:
        pytest.fail("there is no image yet: make image")
    return images[-1]


@pytest.fixture(scope="session")
def shared_board(
    pytestconfig: pytest.Config, key: Path, request: pytest.FixtureRequest, figures: Figures
) -> Iterator[Board]:
    """The board that all tests share, with the tests' key and configuration; one of them may have switched it off."""
    where = str(pytestconfig.getoption("--board"))
    if where != "qemu":
        host, _, port = where.partition(":")
        yield Board(host, key, Ports(ssh=int(port or 22)))
        return
    emulated = QemuBoard(request.getfixturevalue("image"), RESULTS / "shared", key)
    emulated.console.unlink(missing_ok=True)
    emulated.put("ssh-keys.txt", key.with_suffix(".pub").read_text())
    emulated.put("hostname.txt", "stage-left\r\n")
    emulated.put("clasp-edge.toml", CONFIG)
    figures.note("power on to router answering, first start", emulated.boot(), "s")
    yield emulated
    emulated.remove()


@pytest.fixture
def board(shared_board: Board) -> Board:
    """The shared board, switched on."""
    if isinstance(shared_board, QemuBoard) and shared_board.process is None:
        shared_board.boot()
    return shared_board


@pytest.fixture
def qemu(board: Board) -> QemuBoard:
    """The same, for tests that need its plug or its card."""
    if not isinstance(board, QemuBoard):
        pytest.skip("needs the plug and the card of an emulated board")
    return board
