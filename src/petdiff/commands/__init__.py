"""What the commands do, one file each. The functions with their options are in `petdiff.cli`."""
