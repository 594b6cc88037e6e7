"""Documents of other parts are stored with commits, come back, and wait where a commit fails."""

from __future__ import annotations

from pathlib import Path

import lmdb
import pytest

from clasp_edge.journal.documents import Documents, sealed, unsealed
from clasp_edge.journal.errors import Unavailable
from clasp_edge.journal.format import note_key
from clasp_edge.journal.store import Retention, Store


class Owner:
    """Has documents, and says which have changed."""

    def __init__(self) -> None:
        self.all: dict[str, bytes] = {}
        self.changed: dict[str, bytes | None] = {}

    def __call__(self, everything: bool) -> dict[str, bytes | None]:
        changed, self.changed = self.changed, {}
        return {**self.all} if everything else changed


def test_what_failed_is_given_again_unless_it_is_out_of_date() -> None:
    owner, notes = Owner(), Documents()
    notes.ask(owner)
    assert not notes.gather()
    owner.changed = {"a": b"1", "b": b"1"}
    assert notes.gather()
    taken = notes.take()
    assert taken == {"a": b"1", "b": b"1"}
    owner.changed = {"b": None}
    notes.gather()
    notes.give_back(taken)
    assert notes.take() == {"a": b"1", "b": None}
    assert not notes.gather()


def test_a_new_store_gets_everything() -> None:
    owner, notes = Owner(), Documents()
    notes.ask(owner)
    owner.all = {"a": b"1"}
    notes.all_again()
    assert notes.gather()
    assert notes.take() == {"a": b"1"}
    assert not notes.gather()


def test_an_owner_that_fails_keeps_nobody_from_storing(caplog: pytest.LogCaptureFixture) -> None:
    def broken(everything: bool) -> dict[str, bytes | None]:
        raise ZeroDivisionError

    notes = Documents()
    notes.ask(broken)
    assert not notes.gather()
    assert "documents could not be stored" in caplog.text
    notes.ask(lambda everything: {"n" * 400: b""})
    assert not notes.gather()


@pytest.mark.parametrize("stored", [b"", b"abc", sealed(b"data")[:-1], sealed(b"data") + b"x"])
def test_a_damaged_document_is_none(stored: bytes) -> None:
    assert unsealed(sealed(b"data")) == b"data"
    assert unsealed(stored) is None


def test_the_store_has_them_back(tmp_path: Path) -> None:
    store = Store(tmp_path, Retention(1 << 20, 0, 0))
    with pytest.raises(Unavailable):
        store.notes()
    store.commit((), (), 0, 0, notes={"one": b"1", "two": b"2", "three": b""})
    store.commit((), (), 0, 0, notes={"two": None, "one": b"11", "never": None})
    store.close()
    with lmdb.open(str(tmp_path), max_dbs=0) as env, env.begin(write=True) as txn:
        txn.put(note_key("broken"), b"\0\0\0\0x")
    store.open()
    assert store.notes() == {"one": b"11", "three": b"", "broken": None}
    store.close()
