"""How good and how fast the selector is on data sets that stand in a folder of the user's: `make bench-selection`.

What a data set is measured for depends on the kind of files it consists of (`kinds`), never on its name.
"""
