"""`python -m clasp_edge`."""

import sys

from clasp_edge.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
