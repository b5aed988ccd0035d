"""Which blocks of the KV cache are free, which are held, and which keep content for reuse."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable


class BlockPool:
    """Owns the blocks' reference counts and the prefix cache's index.

    A block is free, held by one or more sequences, or kept: nobody holds it, but its content is
    remembered under a key until the room is needed; the one unused longest goes first. A block under
    a key is full and never written again, so any number of sequences may read it.
    """

    def __init__(self, num_blocks: int) -> None:
        self.num_blocks = num_blocks
        self._free = list(range(num_blocks))
        self._holders = [0] * num_blocks
        self._kept: OrderedDict[int, None] = OrderedDict()
        self._key_of: dict[int, bytes] = {}
        self._by_key: dict[bytes, int] = {}

    @property
    def available(self) -> int:
        """Blocks that can be taken now: free ones and kept ones."""
        return len(self._free) + len(self._kept)

    def take(self) -> int:
        """An empty block, held once. Content is forgotten when nothing is free."""
        assert self.available
        if not self._free:
            oldest, _ = self._kept.popitem(last=False)
            del self._by_key[self._key_of.pop(oldest)]
            self._free.append(oldest)
        block = self._free.pop()
        self._holders[block] = 1
        return block

    def find(self, keys: Iterable[bytes]) -> list[int]:
        """The blocks of the longest known run of keys, from the first on; not held yet."""
        found = []
        for key in keys:
            block = self._by_key.get(key)
            if block is None:
                break
            found.append(block)
        return found

    def num_kept(self, blocks: Iterable[int]) -> int:
        """How many of the blocks nobody holds: what holding them takes from `available`."""
        return sum(block in self._kept for block in blocks)

    def hold(self, block: int) -> None:
        """Hold a block that has content, once more."""
        self._kept.pop(block, None)
        self._holders[block] += 1

    def release(self, block: int) -> None:
        """Hold a block once less."""
        self._holders[block] -= 1
        if not self._holders[block]:
            if block in self._key_of:
                self._kept[block] = None
            else:
                self._free.append(block)

    def remember(self, block: int, key: bytes) -> None:
        """Keep a full block's content under `key`; the first block of a key stays the one."""
        if key not in self._by_key and block not in self._key_of:
            self._by_key[key] = block
            self._key_of[block] = key

    def check_integrity(self) -> None:
        """free + held + kept == all, and the index is its own inverse."""
        held = [block for block, holders in enumerate(self._holders) if holders]
        assert sorted([*self._free, *held, *self._kept]) == list(range(self.num_blocks)), "a block is lost or twice"
        assert {key: block for block, key in self._key_of.items()} == self._by_key, "the prefix index is torn"
        assert all(block in self._key_of for block in self._kept), "a kept block has no content"
        assert not any(block in self._key_of for block in self._free), "a free block has content"
