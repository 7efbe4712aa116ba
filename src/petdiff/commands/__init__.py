"""Run the commands, one file per command; `petdiff.cli` has their options."""
