"""``python -m edgeprof`` is the command line."""

import sys

from edgeprof.commands import main

if __name__ == "__main__":
    sys.exit(main())
