"""The control plane: sessions, and every message but the two hot ones."""
