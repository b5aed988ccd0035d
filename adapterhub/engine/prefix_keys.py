"""Names for the content of KV blocks: equal keys mean equal keys and values.

    key[0] = sha256(seed)          seed: runtime digest, adapter digest, tenant salt
    key[i] = sha256(key[i-1], ids of block i)

The chain makes a block's key depend on all that its rows attend to. Blocks in front of the first row
that an adapter changes are the bare base's, whose digest is empty; the adapter's enters the chain there.
"""

from __future__ import annotations

import hashlib
from array import array

from adapterhub.engine.block_table import BLOCK_TOKENS


class PrefixKeys:
    """The keys of one sequence's full blocks, computed as they fill."""

    def __init__(self, runtime: str, adapter: str, salt: str, *, starts: int = 0) -> None:
        """`starts` is the first position whose row the adapter changes."""
        self._adapter = adapter.encode()
        self._first = starts // BLOCK_TOKENS
        """The first block that is not the base's."""
        seed = (runtime, "" if self._first else adapter, salt)
        self._keys = [hashlib.sha256("\n".join(seed).encode()).digest()]

    def extend(self, ids: list[int]) -> list[bytes]:
        """The keys of all full blocks of `ids`, the ids of a sequence's positions from the first on."""
        for block in range(len(self._keys) - 1, len(ids) // BLOCK_TOKENS):
            content = array("q", ids[block * BLOCK_TOKENS : (block + 1) * BLOCK_TOKENS]).tobytes()
            joins = self._adapter if block and block == self._first else b""
            self._keys.append(hashlib.sha256(self._keys[-1] + joins + content).digest())
        return self._keys[1 : len(ids) // BLOCK_TOKENS + 1]
