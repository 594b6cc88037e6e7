"""The journal's section of the status, and the metrics made of it.

The numbers are those of `Journal.statistics`; here they get their places and units.
"""

from __future__ import annotations

from typing import Any

from clasp_edge.console.sources import COUNTER, GAUGE, Family, StatusSources
from clasp_edge.journal.journal import Journal


def add_journal(sources: StatusSources, journal: Journal) -> None:
    """Mode and state, numbers of records, commits, and what is written to the card."""
    sources.add("journal", lambda: _section(journal), _JOURNAL)


def _section(journal: Journal) -> dict[str, Any]:
    found = journal.statistics()
    section: dict[str, Any] = {
        "mode": found["mode"],
        "state": found["state"],
        "storing": found["state"] == "ok",
        "message": found["message"],
    }
    if journal.journal_buffer is not None:
        section |= {
            "records": found["records"],
            "lost_records": found["records_lost"],
            "rationed_records": found["records_rationed"],
            "missed_records": found["records_missed"],
            "damaged_blocks": found["blocks_damaged"],
            "log_bytes": found["log_bytes"],
            "commits": found["commits"],
            "failed_commits": found["commits_failed"],
            "commit_seconds": round(float(found["commit_seconds"]), 6),
            "queue_age_s": int(found["queue_age_ms"]) / 1000,
            "commit_interval_s": round(journal.commit_interval_s, 3),
            "written_bytes": found["bytes_written"],
            "written_bytes_per_day": found["bytes_per_day"],
            "wear_alarm": bool(found["wear_alarm"]),
        }
    return section


_JOURNAL = (
    Family("clasp_edge_journal_storing", GAUGE, "Whether what changes is stored.", ("storing",)),
    Family("clasp_edge_journal_records_total", COUNTER, "Log records kept.", ("records",)),
    Family(
        "clasp_edge_journal_lost_records_total", COUNTER, "Log records the disk was too slow for.", ("lost_records",)
    ),
    Family(
        "clasp_edge_journal_rationed_records_total",
        COUNTER,
        "Log records dropped because their client writes more than its part of the wear budget.",
        ("rationed_records",),
    ),
    Family(
        "clasp_edge_journal_missed_records_total",
        COUNTER,
        "Log records dropped for the log's size while an uplink still needed them.",
        ("missed_records",),
    ),
    Family("clasp_edge_journal_damaged_blocks", GAUGE, "Blocks of the log found damaged.", ("damaged_blocks",)),
    Family("clasp_edge_journal_log_bytes", GAUGE, "What the log takes.", ("log_bytes",)),
    Family("clasp_edge_journal_commits_total", COUNTER, "Commits.", ("commits",)),
    Family("clasp_edge_journal_failed_commits_total", COUNTER, "Commits that the disk refused.", ("failed_commits",)),
    Family("clasp_edge_journal_commit_seconds_total", COUNTER, "Time that commits have taken.", ("commit_seconds",)),
    Family(
        "clasp_edge_journal_queue_age_seconds", GAUGE, "Age of the oldest change at the last commit.", ("queue_age_s",)
    ),
    Family("clasp_edge_journal_commit_interval_seconds", GAUGE, "Between commits.", ("commit_interval_s",)),
    Family("clasp_edge_journal_written_bytes_total", COUNTER, "Bytes written to the store.", ("written_bytes",)),
    Family("clasp_edge_journal_written_bytes_per_day", GAUGE, "At the present pace.", ("written_bytes_per_day",)),
    Family("clasp_edge_journal_wear_alarm", GAUGE, "Whether that is above the budget.", ("wear_alarm",)),
)
