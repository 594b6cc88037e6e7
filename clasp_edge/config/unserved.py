"""Sections that belong to the file format but that this version does not serve.

Other programs pass `--set mqtt.listen=off` whatever the version, so switching such a part off is accepted and
anything else says plainly that the part is not there. The one place to change when a part is served: its line here
goes, and its section appears in `model`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

# section: (the one key that may be given, its one value, what is missing)
UNSERVED: Mapping[str, tuple[str, str, str]] = {
    "uplink": ("", "", "has no uplinks"),
}


def without_unserved(raw: Mapping[str, object]) -> dict[str, object]:
    """The tables of a parsed file that the model knows, or that are nobody's."""
    return {key: value for key, value in raw.items() if key not in UNSERVED}


def unserved_problems(raw: Mapping[str, object]) -> Iterator[tuple[str, str]]:
    """(key path, sentence) for everything in `raw` that asks for a part that is not there."""
    for section, (key, accepted, lack) in UNSERVED.items():
        given = raw.get(section)
        if given is None or given == {}:
            continue
        hint = f'; only {section}.{key} = "{accepted}" is accepted' if key else ""
        for name, value in given.items() if isinstance(given, dict) else [("", given)]:
            if (name, value) != (key, accepted):
                path = f"{section}.{name}" if name else section
                yield path, f"this version {lack}{hint}"
