"""The program that tries a grammar: compiles it and walks some steps into it, in a process that may die of it.

The library's own limits do not hold everywhere: a `multipleOf` of nine digits compiles for minutes, a long chain of
rules ends the process by its stack. So a grammar is tried here first, under the kernel's limits and on a stack much
smaller than those of the threads that will use it. Run by `trials` as a file: it imports nothing of the project.
"""

from __future__ import annotations

import json
import random
import resource
import sys
import threading
import time
from typing import Any

from llguidance import LLMatcher, LLParserLimits, LLTokenizer

STACK_BYTES = 1 << 20
STEPS = 128


def main() -> None:
    """One line in tells of the tokenizer, each further one is a grammar; one line out for each."""
    opening = json.loads(sys.stdin.readline())
    threading.stack_size(STACK_BYTES)
    tokenizer = LLTokenizer(opening["tokenizer"], n_vocab=opening["vocab"], eos_token=opening["eos"])
    _limit(resource.RLIMIT_AS, opening["memory_bytes"])
    _limit(resource.RLIMIT_CORE, 0)
    _answer("")
    for line in sys.stdin:
        _allow(opening["cpu_seconds"])
        thread = threading.Thread(target=_answer_trial, args=(tokenizer, json.loads(line), opening))
        thread.start()
        thread.join()


def walk(tokenizer: LLTokenizer, grammar: str, opening: dict[str, Any]) -> str:
    """Why a grammar is refused; empty if it is not."""
    limits = LLParserLimits(**opening["limits"])
    matcher = LLMatcher(tokenizer, grammar, log_level=0, limits=limits)
    draw = random.Random(0)  # noqa: S311  only to go somewhere
    for _ in range(STEPS):
        if matcher.is_error() or matcher.is_stopped():
            break
        start = time.thread_time()
        mask = matcher.compute_bitmask()
        seconds = time.thread_time() - start
        if matcher.is_error():
            break
        if seconds > opening["mask_seconds"]:
            return f"one token takes {seconds:.2f} s to decide; at most {opening['mask_seconds']}"
        token = _any(mask, tokenizer.eos_tokens, draw)
        if token is None:
            break
        matcher.consume_token(token)
    return matcher.get_error()


def _any(mask: bytes, eos: list[int], draw: random.Random) -> int | None:
    """A token that a mask allows, and that does not end the text; None when there is none."""
    bits = bytearray(mask)
    for token in eos:
        bits[token // 8] &= ~(1 << token % 8) & 255
    turn = draw.randrange(len(bits))
    turned = bytes(bits[turn:] + bits[:turn])
    skipped = len(turned) - len(turned.lstrip(b"\0"))
    if skipped == len(turned):
        return None
    byte = turned[skipped]
    return (turn + skipped) % len(bits) * 8 + draw.choice([bit for bit in range(8) if byte >> bit & 1])


def _allow(seconds: int) -> None:
    """So much more of the processor, then the kernel ends the process."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    used = int(usage.ru_utime + usage.ru_stime) + 1
    _limit(resource.RLIMIT_CPU, used + seconds)


def _limit(what: int, amount: int) -> None:
    resource.setrlimit(what, (amount, resource.getrlimit(what)[1]))


def _answer_trial(tokenizer: LLTokenizer, grammar: str, opening: dict[str, Any]) -> None:
    _answer(walk(tokenizer, grammar, opening))


def _answer(reason: str) -> None:
    sys.stdout.write(json.dumps(reason) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
