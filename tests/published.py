"""Random adapters of a real base, with the record that training would leave, in the store."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from conftest import save_random_adapter

from adapterhub.adapter import PROVENANCE_FILE, Provenance
from adapterhub.base import base_digest, read_base
from adapterhub.store import AdapterRef, Store


def publish_random(base: Path, name: str, folder: Path, method: str = "lora", **options: Any) -> AdapterRef:
    """Publish a random adapter of the base in a folder; further `options` as `save_random_adapter` takes them."""
    _, shape = read_base(str(base))
    save_random_adapter(folder, method, shape, **options)
    record = {"id": base.name, "digest": base_digest(base)}
    provenance = Provenance.load({"method": method, "base": record}, where="test")
    (folder / PROVENANCE_FILE).write_text(json.dumps(provenance.model_dump()))
    return Store.default().publish(folder, name)
