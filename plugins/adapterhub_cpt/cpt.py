"""Continued pretraining on plain text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from adapterhub.method import BaseShape, Method, MethodConfig
from adapterhub.objective import Encoder, LossObjective, ObjectiveBase, ObjectiveConfig
from adapterhub.records import Text
from adapterhub_cpt.documents import pieces
from adapterhub_cpt.packing import packed, position_ids

if TYPE_CHECKING:
    from torch import Tensor


class CptConfig(ObjectiveConfig):
    """Options of continued pretraining."""

    pack: bool = True
    """Several documents in a row, none of which sees another. Without it each row holds one, and pads."""


class Cpt(LossObjective[CptConfig]):
    """Cross entropy of every token of a document given those before it, its closing token included.

    Virtual tokens stand in front of a row and not of each document in it, so with them, and on a base
    that does not keep packed documents apart, a row holds one document. The loss is the same.
    """

    name = "cpt"
    Config = CptConfig
    records = (Text,)
    summary = "continued pretraining: go on as this plain text does"
    prompt_format = "raw"

    def refuses(
        self, config: CptConfig, method: Method[Any], options: MethodConfig | None, shape: BaseShape | None
    ) -> str:
        if options is not None and method.starts(options, ()) is None:
            return "it acts behind its invocation tokens, and plain text holds none"
        return ""

    def prepare(self, config: CptConfig, records: Sequence[Any], encoder: Encoder, base: ObjectiveBase) -> list[Any]:
        from adapterhub_cpt.kept_apart import kept_apart

        rows = [row for record in records for row in pieces(record, encoder)]
        if not config.pack or encoder.virtual_tokens or not kept_apart(base.model, base.device):
            return rows
        return packed(rows, encoder.limit)

    def collate(self, config: CptConfig, rows: Sequence[Any]) -> dict[str, Tensor]:
        batch = super().collate(config, rows)
        if any("documents" in row for row in rows):
            batch["position_ids"] = position_ids(rows, width=batch["input_ids"].shape[1])
        return batch
