"""What each command does, one file per command; `petdiff.cli` has their options."""
