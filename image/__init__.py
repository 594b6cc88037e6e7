"""Builds the image for the board: a flashable disk and signed updates from Debian's packages and our own."""
