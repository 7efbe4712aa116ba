"""The options of the commands by subject: a type with its help text for each.

They are the arguments of the functions of `petdiff.cli`. `petdiff --help` reads all of them, so
only the standard library and typer are imported here.
"""
