"""The store's file does not stay in the process's memory."""

from __future__ import annotations

import mmap
import os
import resource
from pathlib import Path

from clasp_edge.journal.mapped_pages import MOST_BYTES, MappedPages
from clasp_edge.journal.store import Retention, Store

PIECE = bytes(range(256)) * 4096


def mapped_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[2]) * os.sysconf("SC_PAGE_SIZE")


def test_many_pages_are_let_go_of_and_are_there_again(tmp_path: Path) -> None:
    path = tmp_path / "data.mdb"
    count = 2 * MOST_BYTES // len(PIECE)
    path.write_bytes(PIECE * count)
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, mmap.MAP_SHARED, mmap.PROT_READ) as mapped:
        pages = MappedPages(path)
        before = mapped_bytes()
        assert mapped[:] == PIECE * count
        assert mapped_bytes() >= before + 3 * MOST_BYTES // 2
        pages.look()
        assert pages.released == 1
        assert mapped_bytes() < before + MOST_BYTES // 2
        assert mapped[:] == PIECE * count
        assert mapped[: len(PIECE)] == PIECE


def test_few_pages_stay_and_so_do_those_of_other_files(tmp_path: Path) -> None:
    path, other = tmp_path / "data.mdb", tmp_path / "other"
    for each, count in ((path, 1), (other, 2 * MOST_BYTES // len(PIECE))):
        each.write_bytes(PIECE * count)
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, mmap.MAP_SHARED, mmap.PROT_READ) as mapped:
        pages = MappedPages(path)
        assert mapped[:] == PIECE
        pages.look()
        assert pages.released == 0
        with open(other, "rb") as large, mmap.mmap(large.fileno(), 0, mmap.MAP_SHARED, mmap.PROT_READ) as foreign:
            assert foreign[:] == PIECE * (2 * MOST_BYTES // len(PIECE))
            held = mapped_bytes()
            pages.look()
            assert mapped_bytes() > held - MOST_BYTES // 2


def test_a_commit_and_a_reader_need_no_further_file(tmp_path: Path) -> None:
    """Clients may have taken every descriptor there is."""
    store = Store(tmp_path, Retention())
    store.open()
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, limits[1]))
    try:
        store.commit((), (), 0, 1, notes={"which": b"this"})
        store.read_log(1, 1, 0, 1, 0x1F, 1)
        MappedPages(tmp_path / "data.mdb").look()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert store.notes() == {"which": b"this"}
    store.close()
