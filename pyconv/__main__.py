"""python -m pyconv."""

from __future__ import annotations

import sys

from pyconv.cli import main

if __name__ == "__main__":
    sys.exit(main())
