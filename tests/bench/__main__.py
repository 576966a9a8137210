"""``python -m tests.bench [NAME]``: run all benchmarks, or one."""

from __future__ import annotations

import sys

from tests.bench.frame import main

if __name__ == "__main__":
    main(sys.argv[1:])
