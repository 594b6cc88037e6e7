"""Rules: the router acts by itself on what it sees. Loaded only where the configuration has rules."""
