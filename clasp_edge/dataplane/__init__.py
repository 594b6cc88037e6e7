"""The compiled fast path: frames, params, subscriptions, outboxes, the arena."""
