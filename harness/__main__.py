"""`python -m harness`: the command line, where the `harness` script is not on the path."""

import sys

from harness.cli import main

sys.exit(main())
