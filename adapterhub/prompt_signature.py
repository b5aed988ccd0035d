"""What an adapter's training prompts look like, as one small vector that does not hold them.

A prompt's features are the character n-grams of its words, hashed with a sign to 1024 numbers: counts
are damped by `1 + log(count)`, and the vector has unit length. A signature is the mean of the features
of many prompts, in int8. Source of the hashing: Weinberger et al. 2009, "Feature Hashing for Large Scale
Multitask Learning" (arXiv:0902.2206); of the hash: Fowler, Noll and Vo's FNV-1a, and the finalizer of
MurmurHash3.

What is not covered: a proof that nothing of the prompts can be guessed from it. Of very few examples, or
of a phrase that most of them share, whoever has the phrase can tell that it was likely there. And it is
the publisher's word: an adapter of somebody else may carry one that resembles anything.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adapterhub.errors import ConfigError

SIZE = 1024
"""Numbers of a vector."""
LENGTHS = (3, 4, 5)
"""Characters of the n-grams; a space stands before and behind every word."""
MAX_CHARACTERS = 2048
"""A longer prompt is looked at up to here."""
MAX_PROMPTS = 2000
"""Of more, evenly spaced ones are looked at."""
VERSION = "v1"
"""Another one when anything of the above changes; vectors of two versions cannot be compared."""

_WORD = re.compile(r"\w+")
_FNV_OFFSET = np.uint64(0xCBF29CE484222325)
_FNV_PRIME = np.uint64(0x100000001B3)
_MIX = np.uint64(0xFF51AFD7ED558CCD)


def prompt_features(prompt: str) -> NDArray[np.float32]:
    """[1024], of length 1; all zeros where there is no word."""
    words = _WORD.findall(prompt[:MAX_CHARACTERS].lower())
    text = f" {' '.join(words)} ".encode("utf-32-le", errors="replace")
    codes = np.frombuffer(text, "<u4").astype(np.uint64)
    grams, counts = np.unique(np.concatenate([_hash(codes, length) for length in LENGTHS]), return_counts=True)
    mixed = (grams ^ (grams >> np.uint64(33))) * _MIX
    places = (mixed >> np.uint64(54)).astype(np.int64)
    signs = np.where(mixed >> np.uint64(53) & np.uint64(1), 1.0, -1.0)
    return unit(np.bincount(places, signs * (1 + np.log(counts)), minlength=SIZE))


def sign_prompts(prompts: Iterable[str]) -> str:
    """The signature of prompts, as `adapterhub.json` records it; empty when there is no word in them."""
    distinct = list(dict.fromkeys(prompts))
    chosen = distinct[:: -(-len(distinct) // MAX_PROMPTS) or 1]
    mean = np.sum([prompt_features(prompt) for prompt in chosen], axis=0) if chosen else np.zeros(SIZE)
    if not (highest := np.abs(mean).max()):
        return ""
    return f"{VERSION}:{base64.b64encode(np.rint(mean / highest * 127).astype(np.int8).tobytes()).decode()}"


def read_signature(signature: str) -> NDArray[np.float32]:
    """[1024], of length 1. Raises ConfigError for what is no signature of this version."""
    version, _, text = signature.partition(":")
    try:
        numbers = np.frombuffer(base64.b64decode(text, validate=True), np.int8)
    except (binascii.Error, ValueError):
        numbers = np.zeros(0, np.int8)
    if version != VERSION or len(numbers) != SIZE or not numbers.any():
        raise ConfigError(
            f"prompt_signature: {signature[:20]!r} (accepted: '{VERSION}:' and {SIZE} int8 in base64)",
            field="prompt_signature",
        )
    return unit(numbers)


def unit(vector: NDArray[Any]) -> NDArray[np.float32]:
    """The vector at length 1, or zeros as they are."""
    return (vector / (np.linalg.norm(vector) or 1.0)).astype(np.float32)


def _hash(codes: NDArray[np.uint64], length: int) -> NDArray[np.uint64]:
    """FNV-1a over the code points of every n-gram of one length. [characters] -> [characters - length + 1]"""
    count = max(0, len(codes) - length + 1)
    hashed = np.full(count, _FNV_OFFSET ^ np.uint64(length))
    for start in range(length):
        hashed = (hashed ^ codes[start : start + count]) * _FNV_PRIME
    return hashed
