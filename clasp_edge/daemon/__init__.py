"""One process: builds the parts from the config, starts and stops them in order."""
