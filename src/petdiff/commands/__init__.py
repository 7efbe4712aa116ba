"""The commands, one file each; `petdiff.cli` holds their options."""
