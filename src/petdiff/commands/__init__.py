"""The commands, one file each. Their options are in `options`, the functions in `petdiff.cli`."""
