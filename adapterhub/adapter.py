"""An adapter as files: PEFT's layout beside our own record of where it came from.

    adapter_config.json          PEFT's config
    adapter_model.safetensors    the tensors, under PEFT's names
    adapterhub.json              provenance (absent for an adapter somebody else made)

Reading starts at the header, without torch; `read_tensors` is the only function that imports it.

What is not covered: sharded adapters, and any format but safetensors (never pickle).
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field, model_validator

from adapterhub.config import Config
from adapterhub.errors import BaseMismatchError, ConfigError, CorruptAdapterError, UnsupportedAdapterError
from adapterhub.evaluation_record import EvaluationRecord
from adapterhub.json_object import load_object
from adapterhub.method import Plan
from adapterhub.prompt_format import PromptFormat
from adapterhub.safetensors_header import WHOLE_NUMBERS, TensorHeader, read_header

if TYPE_CHECKING:
    from torch import Tensor

CONFIG_FILE = "adapter_config.json"
TENSORS_FILE = "adapter_model.safetensors"
PROVENANCE_FILE = "adapterhub.json"
CARD_FILE = "README.md"
ADAPTER_FILES = (CONFIG_FILE, TENSORS_FILE, PROVENANCE_FILE, CARD_FILE)
PICKLED_FILES = ("adapter_model.bin", "adapter_model.pt", "adapter_model.pth", "pytorch_adapter.bin")

RECORD_VERSION = 1
"""The format of `adapterhub.json`; older ones are read, newer ones refused."""
MAX_JSON_BYTES = 1 << 20
MAX_LISTED = 40
"""Tensors that do not fit are listed up to here, and counted beyond."""


class BaseRecord(Config):
    """The base an adapter was trained on."""

    id: str
    """Hub id, built-in name, or the folder's name."""
    revision: str = ""
    """Commit on the Hub, when it came from there."""
    digest: str
    """`sha256:` digest of the unquantized weights; decides whether the adapter fits a base."""

    @property
    def ref(self) -> str:
        """What to load it by, where it is not a folder that is elsewhere now."""
        return f"{self.id}@{self.revision}" if self.revision else self.id


class Provenance(Config):
    """`adapterhub.json`: how an adapter came to be."""

    format_version: int = RECORD_VERSION
    """Raised by the first field that a release did not have: older ones then ask to be upgraded."""
    method: str
    """The method's name."""
    base: BaseRecord | None = None
    """The base model it was trained on; only a converted adapter may not know."""
    quantization: str = "none"
    """How the base was quantized in training; empty when that is not known."""
    prompt_format: PromptFormat | None = PromptFormat()
    """How prompts become token ids, applied by default wherever the adapter is served; None when that is not known."""
    data: dict[str, Any] = Field(default_factory=dict)
    """Digest and counts of the training data."""
    prompt_signature: str = Field(default="", max_length=4096)
    """What the training prompts look like (`prompt_signature.py`), for routers; empty when that is not known."""
    training: dict[str, Any] = Field(default_factory=dict)
    """Objective and settings; of a combination its kind and weights."""
    seeds: dict[str, int] = Field(default_factory=dict)
    """What decided every draw of chance, by the step that drew."""
    evaluations: dict[str, float] = Field(default_factory=dict)
    """Figures on the held-out split, by name."""
    results: tuple[EvaluationRecord, ...] = ()
    """What evaluations on held-out examples found, one for each file of them."""
    forgetting: dict[str, float] = Field(default_factory=dict)
    """What the base lost outside its task: nats per token of general text, without and with the adapter."""
    parents: tuple[str, ...] = ()
    """The adapters it was made from, each pinned to its digest."""
    versions: dict[str, str] = Field(default_factory=dict)
    """Versions of the libraries it was made with."""
    created: str = ""
    """UTC time, ISO 8601."""
    converted_from: dict[str, Any] = Field(default_factory=dict)
    """The library whose adapter this was, and the digests of the files it was made from."""

    @model_validator(mode="after")
    def _base_is_known(self) -> Provenance:
        if self.base is None and not self.converted_from:
            raise ValueError("base: missing, and it was not converted from another library's adapter")
        return self


@dataclass(frozen=True)
class Adapter:
    """An adapter whose header was read and checked; its tensors are still on disk."""

    files: Mapping[str, Path]
    """File name -> where its bytes are (a folder, or blobs of a store)."""
    config: Mapping[str, Any]
    """`adapter_config.json`, as written."""
    tensors: Mapping[str, TensorHeader]
    """Tensor name on disk -> its dtype, shape and place, from the checked header."""
    provenance: Provenance | None
    """None when somebody else made it."""
    digest: str = field(default="", compare=False)
    """Content digest given by the store, `sha256:...`; empty outside it."""

    @property
    def name(self) -> str:
        """What errors call it: its digest, or where it lies when it has none."""
        return f"adapter {self.digest}" if self.digest else f"adapter in {self.files[TENSORS_FILE].parent}"

    @property
    def base(self) -> BaseRecord | None:
        """The base it was trained on; None when that is not recorded, and such an adapter is shown as unverified."""
        return self.provenance.base if self.provenance else None

    @property
    def prompt_format(self) -> PromptFormat | None:
        """The recorded format of its prompts, if there is one."""
        return self.provenance.prompt_format if self.provenance else None

    @property
    def peft_type(self) -> str:
        return str(self.config["peft_type"])

    @property
    def method_name(self) -> str:
        """The method's name as recorded, else its `peft_type` in lower case."""
        return self.provenance.method if self.provenance else self.peft_type.lower()

    @property
    def num_parameters(self) -> int:
        return sum(math.prod(tensor.shape) for tensor in self.tensors.values())

    @property
    def nbytes(self) -> int:
        """Bytes of its tensors."""
        return sum(tensor.nbytes for tensor in self.tensors.values())

    def read_tensors(self) -> dict[str, Tensor]:
        """All tensors, copied into memory, by their names on disk.

        Raises CorruptAdapterError for values that are not finite, and when the file is another one meanwhile.
        """
        from adapterhub.safetensors_values import read_values

        return read_values(self.files[TENSORS_FILE], self.tensors, name=self.name)

    def copy_to(self, folder: Path) -> None:
        """Its files, byte by byte and by their names, in `folder`: PEFT's layout. Raises OSError."""
        for name, path in self.files.items():
            shutil.copyfile(path, folder / name)

    def check_base(self, base: BaseRecord) -> None:
        """Raises BaseMismatchError when it is recorded that it was made on another base."""
        if self.base is not None and self.base.digest != base.digest:
            raise BaseMismatchError(
                f"{self.name} was made on {self.base.id} ({self.base.digest[:19]}), "
                f"this base is {base.id} ({base.digest[:19]})"
            )

    def check_plan(self, plan: Plan, *, base: str) -> None:
        """Strict: every tensor is in the plan with its shape, and every tensor the plan needs is there.

        Raises BaseMismatchError naming the adapter and listing the keys that differ.
        """
        wanted = plan.shapes()
        wanted |= {key: size for key, size in plan.optional_shapes().items() if key in self.tensors}
        params = {key: site.params[name] for key, (site, name) in plan.tensor_keys.items()}
        problems = []
        for key in sorted(wanted.keys() | self.tensors.keys()):
            have = self.tensors.get(key)
            if have is None:
                problems.append(f"{key}: missing, the plan has {wanted[key]}")
            elif key not in wanted:
                problems.append(f"{key}: not in the plan, the file has {have.shape}")
            elif have.shape != wanted[key]:
                problems.append(f"{key}: the file has {have.shape}, the plan {wanted[key]}")
            elif (have.dtype in WHOLE_NUMBERS) != params[key].whole_numbers:
                kind = "whole numbers" if params[key].whole_numbers else "floating-point numbers"
                problems.append(f"{key}: the file has {have.dtype}, the plan {kind}")
        if problems:
            more = f" (and {len(problems) - MAX_LISTED} more)" if len(problems) > MAX_LISTED else ""
            listed = "; ".join(problems[:MAX_LISTED])
            raise BaseMismatchError(f"{self.name} does not fit base {base}: {listed}{more}")


def read_tensors(path: Path, *, name: str) -> dict[str, Tensor]:
    """All tensors of a file whose header was read, copied into memory; `name` says in errors whose they are.

    Raises CorruptAdapterError for values that are not finite.
    """
    from adapterhub.safetensors_values import read_values

    return read_values(path, name=name)


def check_values(path: Path, *, name: str) -> None:
    """As `read_tensors`, one tensor at a time and without a copy: for a file that nobody else writes to.

    It is mapped, and whoever truncated it meanwhile would end the process.
    """
    from safetensors import SafetensorError, safe_open

    from adapterhub.safetensors_values import check_finite

    try:
        with safe_open(path, framework="pt") as file:
            check_finite(((key, file.get_tensor(key)) for key in file.keys()), name=name)  # noqa: SIM118  no mapping
    except SafetensorError as error:
        raise CorruptAdapterError(f"{name}: {error}") from None


def read_folder(folder: Path) -> Adapter:
    """Read and check the adapter in a folder.

    Raises CorruptAdapterError when it is not one, UnsupportedAdapterError for a record of a newer format.
    """
    files = {name: folder / name for name in ADAPTER_FILES if (folder / name).is_file()}
    if TENSORS_FILE not in files and (pickled := [name for name in PICKLED_FILES if (folder / name).exists()]):
        raise CorruptAdapterError(f"{folder / pickled[0]}: pickled weights are never loaded; need {TENSORS_FILE}")
    return read_files(files, where=str(folder))


def read_files(files: Mapping[str, Path], *, where: str, digest: str = "") -> Adapter:
    """Read and check an adapter given as files; `where` names it in errors.

    Raises CorruptAdapterError when a file is missing or not of the accepted format, and
    UnsupportedAdapterError for a record of a newer one.
    """
    for name in (CONFIG_FILE, TENSORS_FILE):
        if name not in files:
            raise CorruptAdapterError(f"{where}: no {name}")
    config = read_json(files[CONFIG_FILE])
    if not isinstance(config.get("peft_type"), str):
        raise CorruptAdapterError(f"{files[CONFIG_FILE]}: no peft_type")
    provenance = None
    if PROVENANCE_FILE in files:
        provenance = _read_provenance(files[PROVENANCE_FILE])
    return Adapter(files, config, read_header(files[TENSORS_FILE]), provenance, digest)


def _read_provenance(path: Path) -> Provenance:
    values = read_json(path)
    version = values.get("format_version", 1)
    if type(version) is not int or version < 1:
        raise CorruptAdapterError(f"{path}: format_version {str(version)[:40]!r} is none; they count from 1")
    if version > RECORD_VERSION:
        raise UnsupportedAdapterError(
            f"{path}: format_version {version} was written by a newer adapterhub; "
            f"this one reads up to {RECORD_VERSION}: upgrade adapterhub"
        )
    try:
        return Provenance.load(values, where=str(path))
    except ConfigError as error:
        raise CorruptAdapterError(str(error)) from None


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object. Raises CorruptAdapterError when it is too long, or not one that `load_object` takes."""
    with path.open("rb") as file:
        raw = file.read(MAX_JSON_BYTES + 1)
    if len(raw) > MAX_JSON_BYTES:
        raise CorruptAdapterError(f"{path}: longer than {MAX_JSON_BYTES} bytes")
    try:
        return load_object(raw)
    except ValueError as error:
        raise CorruptAdapterError(f"{path}: {error}") from None


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    """A JSON object that is the same to the byte for the same values."""
    path.write_text(json.dumps(values, indent=2, sort_keys=True) + "\n")
