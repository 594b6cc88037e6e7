"""Finding routers in the local network, and being found. Loaded only where it is switched on or asked for."""
