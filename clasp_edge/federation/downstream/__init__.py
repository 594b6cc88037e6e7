"""Routers that dial in: what they declare, ask for and are told."""
