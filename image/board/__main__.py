"""Starts one of the board's programs: python3 -I /usr/lib/clasp-edge-board start | confirm | update FILE."""

from __future__ import annotations

import sys

from clasp_board import main

sys.exit(main.main(sys.argv[1:]))
