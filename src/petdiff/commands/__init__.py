"""Run the commands that take more than a call; `petdiff.cli` has the options of all."""
