"""`python -m aiotwin_nb` is the `aiotwin` command."""

from aiotwin_nb.cli import main

raise SystemExit(main())
