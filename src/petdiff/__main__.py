"""`python -m petdiff` is `petdiff`."""

from petdiff.cli import main

main()
