"""The journal's section of the status, and the metrics made of it.

Most of it the journal says in its params under /clasp-edge/journal/; what is kept and lost is counted by the tap.
"""

from __future__ import annotations

from typing import Any

from clasp_edge.console.sources import COUNTER, GAUGE, Family, StatusSources
from clasp_edge.dataplane import Plane
from clasp_edge.journal.journal import Journal
from clasp_edge.journal.report import AREA
from clasp_edge.wire import Value, decode_value


def add_journal(sources: StatusSources, journal: Journal, plane: Plane) -> None:
    """Mode and state, numbers of records, and what is written to the card."""
    sources.add("journal", lambda: _section(journal, plane), _JOURNAL)


def _section(journal: Journal, plane: Plane) -> dict[str, Any]:
    section: dict[str, Any] = {
        "mode": journal.mode,
        "state": journal.state,
        "storing": journal.state == "ok",
        "message": _told(plane, "message"),
    }
    tap = journal.tap
    if tap is not None:
        section |= {
            "records": tap.kept,
            "lost_records": tap.lost,
            "commit_interval_s": round(journal.commit_interval_s, 3),
            "written_bytes": _told(plane, "bytes_written"),
            "written_bytes_per_day": _told(plane, "bytes_per_day"),
            "wear_alarm": _told(plane, "wear_alarm"),
        }
    return section


def _told(plane: Plane, name: str) -> Value:
    described = plane.describe(AREA + name.encode())
    return decode_value(described[1], described[2]) if described is not None else None


_JOURNAL = (
    Family("clasp_edge_journal_storing", GAUGE, "Whether what changes is stored.", ("storing",)),
    Family("clasp_edge_journal_records_total", COUNTER, "Log records kept.", ("records",)),
    Family(
        "clasp_edge_journal_lost_records_total", COUNTER, "Log records the disk was too slow for.", ("lost_records",)
    ),
    Family("clasp_edge_journal_commit_interval_seconds", GAUGE, "Between commits.", ("commit_interval_s",)),
    Family("clasp_edge_journal_written_bytes_total", COUNTER, "Bytes written to the store.", ("written_bytes",)),
    Family("clasp_edge_journal_written_bytes_per_day", GAUGE, "At the present pace.", ("written_bytes_per_day",)),
    Family("clasp_edge_journal_wear_alarm", GAUGE, "Whether that is above the budget.", ("wear_alarm",)),
)
