"""How the Triton kernels divide their work. All of it is part of the order of a row's sums; none depends on a step."""

from ctypes import sizeof

from adapterhub.ops.updates import UpdateStruct

ROWS = 16
"""Rows of a tile at most, all of one adapter. No version of Triton wants more of a matrix product; so with RANKS."""
RANKS = 16
"""Ranks that are computed at a time."""
COLUMNS = 64
"""Columns of the input that are read at a time."""
SPAN = 1024
"""Columns that one program adds up: several share a long row."""
OUTS = 64
"""Columns of the output that one program writes."""
WORDS = 5
"""Of a tile, as `Tiles.table` has them."""
BYTES = sizeof(UpdateStruct)
"""From one module's update to the next one's."""
