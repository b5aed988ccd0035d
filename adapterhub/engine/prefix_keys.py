"""Names for the content of KV blocks: equal keys mean equal keys and values.

    key[0] = sha256(seed)          seed: runtime digest, adapter digest, tenant salt
    key[i] = sha256(key[i-1], ids of block i)

The chain makes a block's key depend on all that its rows attend to.
"""

from __future__ import annotations

import hashlib
from array import array

from adapterhub.engine.block_table import BLOCK_TOKENS


class PrefixKeys:
    """The keys of one sequence's full blocks, computed as they fill."""

    def __init__(self, *seed: str) -> None:
        self._keys = [hashlib.sha256("\n".join(seed).encode()).digest()]

    def extend(self, ids: list[int]) -> list[bytes]:
        """The keys of all full blocks of `ids`, the ids of a sequence's positions from the first on."""
        for block in range(len(self._keys) - 1, len(ids) // BLOCK_TOKENS):
            content = array("q", ids[block * BLOCK_TOKENS : (block + 1) * BLOCK_TOKENS]).tobytes()
            self._keys.append(hashlib.sha256(self._keys[-1] + content).digest())
        return self._keys[1 : len(ids) // BLOCK_TOKENS + 1]
