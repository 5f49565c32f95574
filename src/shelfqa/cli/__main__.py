"""`python -m shelfqa.cli`."""

from shelfqa.cli import main

main()
