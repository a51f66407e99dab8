"""`python -m cupel` is the `cupel` command."""

import sys

from .cli import main

sys.exit(main())
