"""Who is measured: one driver for each contender, run by the python of that contender's own environment.

A driver imports the standard library, this package and its contender's libraries, nothing else of the project
(but for the driver of adapterhub itself).
"""
