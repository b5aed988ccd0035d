"""One import: copy, convert where needed, check."""

from __future__ import annotations

from pathlib import Path

from adapterhub.adapter import (
    CARD_FILE,
    CONFIG_FILE,
    PROVENANCE_FILE,
    TENSORS_FILE,
    BaseRecord,
    check_values,
    read_folder,
    read_json,
)
from adapterhub.base import known_digest, read_base
from adapterhub.imports.convert import convert
from adapterhub.imports.imported import Imported
from adapterhub.imports.limits import Limits
from adapterhub.imports.plain import reading
from adapterhub.imports.stage import stage, stage_tensors
from adapterhub.imports.tokenizer import brought, differing
from adapterhub.imports.weights import refuse_other_weights
from adapterhub.plugins import Methods, fit, installed_methods, understand


def import_adapter(source: Path, into: Path, *, base: str | None = None, limits: Limits | None = None) -> Imported:
    """Write the adapter in the folder `source`, PEFT's or one that a method adopts, to the empty folder `into`.

    Only the files of an adapter are taken, within `limits`. Every option must be one
    that is served, every value finite and, with `base`, every tensor one of the plan on that base, whose
    weights are not read: where its digest was computed before, a record of another one is refused.
    Raises IntegrityError for what is refused, InvalidInputError for what cannot be read, and as `read_base`.
    """
    methods = installed_methods()
    with reading(source, into):
        _copy(source, into, methods, (limits or Limits()).max_bytes)
        adapter = read_folder(into)
        method, config = understand(adapter, methods)
        check_values(into / TENSORS_FILE, name=adapter.name)
    if base is None:
        told = [f"{source / name} is not used, the base's is" for name in brought(source)]
        return Imported(adapter, method.name, "", False, tuple(told))
    folder, shape = read_base(base)
    digest = known_digest(folder.path)
    with reading(source, into):
        if digest:
            adapter.check_base(BaseRecord(id=folder.id, digest=digest))
        fit(adapter, method, config, shape, base=folder.id)
        told = [f"{what} differs from the base's, which is used" for what in differing(source, folder.path)]
    return Imported(adapter, method.name, folder.id, bool(digest and adapter.base), tuple(told))


def _copy(source: Path, into: Path, methods: Methods, max_bytes: int) -> None:
    if stage(source / CONFIG_FILE, into):
        values = read_json(into / CONFIG_FILE)
        if "peft_type" not in values:
            convert(source, values, into, methods, max_bytes=max_bytes)
            stage(source / CARD_FILE, into)
            return
    if not stage_tensors(source / TENSORS_FILE, into, limit=max_bytes):
        refuse_other_weights(source, TENSORS_FILE)
    for file in (PROVENANCE_FILE, CARD_FILE):
        stage(source / file, into)
