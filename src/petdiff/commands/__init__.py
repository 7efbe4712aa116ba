"""Do what the commands promise, one file each; `petdiff.cli` has the functions with options."""
