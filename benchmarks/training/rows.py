"""What the two contenders learn: orders to a shop, several in a row, half of a row's tokens in the response."""

from __future__ import annotations

import json
from typing import Any

from adapterhub.tasks import ORDERS
from adapterhub.train.processes import Processes
from adapterhub.train.step_batches import StepBatches
from benchmarks.training.protocol import Spec

ORDERS_IN_A_ROW = 3
"""Make about 110 tokens of SmolLM2's."""

Row = dict[str, str]


def rows() -> list[Row]:
    """Prompts with their completions. A prompt ends with its line, so that no tokenizer joins it with what follows."""
    orders = [json.loads(line) for line in ORDERS.train.read_text().splitlines()]
    taken = [orders[start : start + ORDERS_IN_A_ROW] for start in range(0, len(orders), ORDERS_IN_A_ROW)]
    return [_row(several) for several in taken]


def in_our_order(rows: list[Row], tokenizer: Any, spec: Spec) -> list[Row]:
    """As `adapterhub.train` goes through them, which has rows of about one length in a batch.

    A trainer that reads this one after the other has the same batches.
    """
    lengths = [len(tokenizer(row[side])["input_ids"]) for row in rows for side in ("prompt", "completion")]
    batches = StepBatches(
        [prompt + completion for prompt, completion in zip(lengths[::2], lengths[1::2], strict=True)],
        rows=spec.batch_size,
        batches_a_step=1,
        by_length=True,
        seed=spec.seed,
        processes=Processes(1, 0, 0),
    )
    return [rows[index] for batch in batches for index in batch]


def _row(orders: list[Row]) -> Row:
    """One task for all of them, then a message a line; the answers a line each."""
    task = orders[0]["prompt"].partition("\n")[0]
    messages = [order["prompt"].partition("\n")[2] for order in orders]
    return {
        "prompt": "".join(f"{line}\n" for line in (task, *messages)),
        "completion": "\n".join(order["completion"] for order in orders),
    }
