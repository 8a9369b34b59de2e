"""`python -m trajkit` is `trajkit`."""

from trajkit.cli import main

main()
