"""Federation: routers that dial in."""
