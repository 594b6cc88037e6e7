"""A router's status as a person reads it: one line for each subject, what is nothing left out.

Takes the report as it came, from a router that may be older or newer than this program: what is not there is passed
over, and sections that are not known are shown as they are.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

Report = Mapping[str, Any]

LABEL_WIDTH = 11


def status_lines(report: Report) -> Iterator[str]:
    """The lines, without line ends. Nothing in them is anything else than printable."""
    yield printable(_headline(report.get("router", {})))
    for name, section in report.items():
        if name == "router":
            continue
        describe: Callable[[str, Any], Lines] = _KNOWN.get(name, _unknown)
        for label, text in describe(name, section):
            yield printable(f"  {label:<{LABEL_WIDTH}} {text}")


def _headline(router: Report) -> str:
    state = "" if router.get("healthy", True) else ", NOT WELL"
    return (
        f"clasp-edge {router.get('version', '?')} ({router.get('name', '?')}), process {router.get('pid', '?')}, "
        f"up {duration(router.get('uptime_s', 0))}, security {router.get('security', '?')}{state}"
    )


def duration(seconds: float) -> str:
    """For people: the two largest units."""
    days, rest = divmod(int(seconds), 86_400)
    hours, rest = divmod(rest, 3600)
    minutes, rest = divmod(rest, 60)
    if days:
        return f"{days} d {hours} h"
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def size(count: float) -> str:
    """Bytes for people."""
    for unit in ("bytes", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "bytes" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} GiB"


Lines = Iterator[tuple[str, str]]


def _moment(unix_s: float) -> str:
    """A time of the local clock, with the day where that is not today."""
    then, now = time.localtime(unix_s), time.localtime()
    return time.strftime("%H:%M:%S" if then[:3] == now[:3] else "%Y-%m-%d %H:%M:%S", then)


def _counts(section: Report, separator: str = ", ") -> str:
    """`name number` for everything that is not 0."""
    parts = [f"{name} {value:,}" for name, value in section.items() if isinstance(value, int) and value]
    return separator.join(parts) or "none"


def _listeners(name: str, section: Report) -> Lines:
    for scheme, addresses in section.items():
        for address in addresses.split(", "):
            yield "listens on", f"{scheme}://{address}"


def _sessions(name: str, section: Report) -> Lines:
    limit = f" (at most {section['max']:,})" if section.get("max") else ""
    yield "sessions", f"{_counts(section.get('by_kind', {}))}{limit}; half open {section.get('half_open', 0):,}"
    yield "", f"subscriptions {section.get('subscriptions', 0):,}, {size(section.get('subscription_bytes', 0))}"


def _clock(name: str, section: Report) -> Lines:
    if section.get("fault"):
        yield "clock", str(section["fault"])


def _params(name: str, section: Report) -> Lines:
    limit = f" (at most {section['max']:,})" if section.get("max") else ""
    gone = _counts({key: section.get(key, 0) for key in ("evicted", "expired")})
    yield "params", f"{section.get('count', 0):,}{limit}, {size(section.get('bytes', 0))}; forgotten: {gone}"
    waiting = _counts(
        {key.replace("_", " "): section.get(key, 0) for key in ("announced_signals", "scheduled_bundles")}
    )
    if waiting != "none":
        yield "", waiting


def _messages(name: str, section: Report) -> Lines:
    sent = f"{section.get('deliveries', 0):,} deliveries, {size(section.get('sent_bytes', 0))} sent"
    yield "messages", f"{_counts(section.get('by_signal', {}))}; {sent}"
    if section.get("superseded"):
        yield "", f"superseded params {section['superseded']:,}"


def _drops(name: str, section: Report) -> Lines:
    yield "dropped", _counts({key.replace("_", " "): value for key, value in section.items()})


def _errors(name: str, section: Report) -> Lines:
    yield "errors", _counts({f"{code}:": count for code, count in section.items()})


def _uplinks(name: str, section: Report) -> Lines:
    for uplink, told in section.items():
        text = f"{uplink}: {told.get('state', '?')}, {told.get('hub') or 'no hub yet'}"
        text += f", queued {told.get('queue', 0):,}, dropped {told.get('drops', 0):,}{_refused(told)}"
        if told.get("state") != "up" and "up_until" in told:
            text += f"; was up until {_moment(told['up_until'])}" if told["up_until"] else "; never up yet"
        elif told.get("state") == "up" and told.get("since"):
            text += f"; since {_moment(told['since'])}"
        yield "uplink", text + _last_error(told)
        yield from _agreement(told)


def _refused(told: Report) -> str:
    return f", refused {told['refused']:,}" if told.get("refused") else ""


def _last_error(told: Report) -> str:
    return f"; {told['last_error']}" if told.get("last_error") else ""


def _agreement(told: Report) -> Lines:
    for count, names, text in (("differing", "differs", "differ"), ("pending", "awaited", "wait for who decides")):
        if told.get(count):
            yield "", f"{told[count]:,} params {text}: {told.get(names, '')}"


def _uncarried(name: str, section: Report) -> Lines:
    for text in section.values():
        yield "warning", text


def _federation(name: str, section: Report) -> Lines:
    peers = section.get("peers", {})
    for peer, told in peers.items():
        more = told["patterns"] - len(told["owns"])
        owns = ", ".join(told["owns"]) + (f" and {more} more" if more > 0 else "")
        where = f"from {told['remote']}" if told["up"] else "gone"
        if told.get("since"):
            where += f"{' since ' if told['up'] else ', was up until '}{_moment(told['since'])}"
        waits = told.get("queue", 0), told.get("drops", 0)
        text = f", queued {waits[0]:,}, dropped {waits[1]:,}" if any(waits) else ""
        named = told.get("name") or peer
        kind = told["kind"] if named == peer else f"{told['kind']}, {peer}"
        shared = f"; owns {told['shares']}" if told.get("shares") and told["up"] else ""
        text += _refused(told)
        yield "peer", f"{named} ({kind}), {where}: {owns or 'nothing'}{text}{shared}" + _last_error(told)
        yield from _agreement(told)
    if (hidden := section.get("count", 0) + section.get("remembered", 0) - len(peers)) > 0:
        yield "", f"and {hidden} more"


def _pair(name: str, section: Report) -> Lines:
    text = f"{section.get('state', '?')}, with {section.get('other') or 'nobody yet'}"
    if section.get("since"):
        text += f"; since {_moment(section['since'])}"
    if section.get("state") != "in step":
        alone = "confirms by itself" if section.get("alone") == "go on" else "confirms nothing"
        text += f"; {section.get('problem') or '?'}: {alone}"
    yield "pair", text


def _memory(name: str, section: Report) -> Lines:
    used, whole = section.get("arena_used_bytes", 0), section.get("arena_bytes", 0)
    yield "memory", f"{size(section.get('resident_bytes', 0))} resident; {size(used)} of {size(whole)} arena in use"
    if section.get("kept_bytes"):
        kept, limit = size(section["kept_bytes"]), section.get("kept_limit_bytes")
        of = f" of {size(limit)}" if limit else ""
        refused = f"; refused {section['refused']:,}" if section.get("refused") else ""
        most = next(iter(section.get("kept_by_principal", {}).items()), None)
        who = f"; most for {most[0]}, {size(most[1])}" if most else ""
        yield "", f"{kept}{of} kept for {section.get('principals', 0):,} principals{who}{refused}"


def _loop(name: str, section: Report) -> Lines:
    lag_ms, worst_ms = section.get("lag_s", 0) * 1000, section.get("worst_lag_s", 0) * 1000
    yield "event loop", f"{lag_ms:.1f} ms late, at worst {worst_ms:.1f}; {section.get('cpu_s', 0):.1f} s of CPU"


def _osc(name: str, section: Report) -> Lines:
    yield "osc", _counts({key.replace("_", " "): value for key, value in section.items()})
    for target, told in section.get("targets", {}).items():
        lost = "" if told["reachable"] else "; its host is not found yet"
        yield "osc target", f"{target}: {told['patterns']} pattern{'s' if told['patterns'] != 1 else ''}{lost}"
    for sender, told in section.get("senders", {}).items():
        known = f" ({told['device']})" if told.get("device") else ""
        wrong = _counts(told.get("complaints", {}))
        refused = "" if wrong == "none" else f"; {wrong}"
        yield "osc sender", f"{sender}{known}: {told['messages']:,} messages, {told['idle_s']:g} s ago{refused}"


def _mqtt(name: str, section: Report) -> Lines:
    yield "mqtt", _counts({key.replace("_", " "): value for key, value in section.items()})


def _quic(name: str, section: Report) -> Lines:
    now = f"connections {section.get('connections', 0):,}, handshakes {section.get('handshakes', 0):,}"
    carried = f"{size(section.get('bytes_in', 0))} received, {size(section.get('bytes_out', 0))} sent"
    yield "quic", f"{now}; {carried}"
    told = {"connections", "handshakes", "bytes_in", "bytes_out"}
    strange = _counts({key.replace("_", " "): value for key, value in section.items() if key not in told})
    if strange != "none":
        yield "", strange


def _bridges(name: str, section: Report) -> Lines:
    for bridge, told in section.items():
        text = f"{bridge}: {told.get('state', '?')}, {told.get('broker', '?')}"
        text += f", queued {told.get('queued', 0):,}, dropped {told.get('dropped', 0):,}"
        yield "bridge", text + (f"; {told['last_error']}" if told.get("last_error") else "")


def _journal(name: str, section: Report) -> Lines:
    state = "stored" if section.get("storing") else "IN MEMORY ONLY"
    text = f"{section.get('mode', '?')}: {state}"
    if "records" in section:
        lost = f" ({section['lost_records']:,} lost)" if section.get("lost_records") else ""
        text += f"; {section['records']:,} records{lost}, {size(section.get('written_bytes') or 0)} written"
    yield "journal", text + (f"; {section['message']}" if section.get("message") else "")


def _unknown(name: str, section: Any) -> Lines:
    """A section of a part that has not been described here: a line for each entry."""
    if not isinstance(section, Mapping):
        yield name, str(section)
        return
    for key, value in section.items():
        told = value
        if isinstance(value, Mapping):
            told = ", ".join(f"{inner.replace('_', ' ')} {one}" for inner, one in value.items() if one != "")
        yield name, f"{key.replace('_', ' ')}: {told}"


_KNOWN: Mapping[str, Callable[[str, Report], Lines]] = {
    "listeners": _listeners,
    "sessions": _sessions,
    "clock": _clock,
    "params": _params,
    "messages": _messages,
    "drops": _drops,
    "errors": _errors,
    "uplinks": _uplinks,
    "uncarried": _uncarried,
    "federation": _federation,
    "pair": _pair,
    "memory": _memory,
    "loop": _loop,
    "mqtt": _mqtt,
    "osc": _osc,
    "quic": _quic,
    "bridges": _bridges,
    "journal": _journal,
}


def printable(text: str) -> str:
    """The text with all that is not printable escaped: names of clients and devices may hold terminal escapes."""
    if text.isprintable():
        return text
    return "".join(character if character.isprintable() else repr(character)[1:-1] for character in text)
