"""The options of the commands by subject: a type with its help text for each.

`petdiff.cli` puts them together to commands. `petdiff --help` reads all of them, so only the
standard library and typer are imported here.
"""
