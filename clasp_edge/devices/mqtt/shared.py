"""Shared subscriptions, `$share/GROUP/FILTER`: messages are divided among the sessions of the group (5.0, 4.8.2)."""

from __future__ import annotations

from clasp_edge.dataplane import Subscription
from clasp_edge.dataplane.trie import Trie
from clasp_edge.devices.mqtt.context import MqttContext
from clasp_edge.devices.mqtt.receiver import MqttReceiver
from clasp_edge.devices.mqtt.shared_group import SharedGroup
from clasp_edge.wire.pattern import Pattern

ALL_SIGNALS = 0x1F
BEST_QOS = 2

Key = tuple[str, bytes]
"""Group name and pattern of addresses: the same filter in another group is another subscription."""


class SharedGroups:
    """All groups of the server; each is one subscriber of the router."""

    def __init__(self, trie: Trie, context: MqttContext) -> None:
        self._trie = trie
        self._context = context
        self._groups: dict[Key, tuple[SharedGroup, Subscription]] = {}

    def join(self, key: Key, pattern: Pattern, member: MqttReceiver, options: int, identifiers: bytes | None) -> None:
        """Let a session take part. `options` are its own; `identifiers` its encoded subscription identifier."""
        found = self._groups.get(key)
        if found is None:
            group = SharedGroup(self._context)
            subscription = Subscription(group, 0, pattern, ALL_SIGNALS, None, BEST_QOS)
            found = self._groups[key] = group, subscription
            self._trie.add(subscription)
        found[0].join(member, options, identifiers)

    def leave(self, key: Key, member: MqttReceiver, *, ended: bool) -> None:
        """Take a session out; the last one ends the group. What waited for it goes to the others, and what it had not
        acknowledged if its session has `ended`."""
        group, subscription = self._groups[key]
        left = group.leave(member)
        messages = member.take_shared(group, ended)
        if left:
            group.give(messages)
        else:
            del self._groups[key]
            self._trie.discard(subscription)

    def __len__(self) -> int:
        return len(self._groups)
