"""A file that cannot be read closes what it decides about, and nothing else."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from clasp_edge.security.kept_file import KeptFileError, locked


def revoke(data_dir: Path, socket: Path) -> subprocess.CompletedProcess[str]:
    command = ["token", "revoke", "desk", "--set", f"data_dir={data_dir}", "--set", f"console.socket={socket}"]
    return subprocess.run([sys.executable, "-m", "clasp_edge", *command], capture_output=True, text=True, check=False)


def test_a_lock_that_is_a_link_is_not_followed(tmp_path: Path) -> None:
    """The directory belongs to the service, and root's command line writes into it."""
    secret = tmp_path / "secret"
    secret.write_text("of somebody else")
    (tmp_path / "tokens.lock").symlink_to(secret)
    with pytest.raises(KeptFileError, match="cannot be changed"), locked(tmp_path / "tokens.toml"):
        pass
    assert secret.read_text() == "of somebody else"


def test_a_router_that_does_not_answer_is_not_taken_for_none(tmp_path: Path) -> None:
    """Or a token would be revoked in a file that nobody looks at."""
    import socket

    place = tmp_path / "control.sock"
    with socket.socket(socket.AF_UNIX) as mute:
        mute.bind(str(place))
        mute.listen()
        done = revoke(tmp_path / "data", place)
    assert done.returncode == 1
    assert "does not answer" in done.stderr
    done = revoke(tmp_path / "data", place)
    assert "does not answer" not in done.stderr, "none runs any more"
