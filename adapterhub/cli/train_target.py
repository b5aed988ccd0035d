"""Where what is trained goes to: an adapter to the store, a whole model to a folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click

from adapterhub.errors import AdapterHubError, ConfigError, RefError
from adapterhub.settings import effective
from adapterhub.store import AdapterRef, Store
from adapterhub.train.full import BYTES_PER_WEIGHT, FULL

if TYPE_CHECKING:
    from adapterhub.train import TrainConfig, TrainResult


class Delivered(NamedTuple):
    """What was made: as JSON, and in a word."""

    facts: dict[str, str]
    line: str

    @property
    def label(self) -> str:
        """What it is called: its name, or the model's folder."""
        return self.facts.get("ref", self.line)


class ToStore(NamedTuple):
    """An adapter, published under a name."""

    name: str

    @classmethod
    def checked(cls, name: str | None, model_folder: Path | None) -> ToStore:
        """Raises ConfigError and RefError for what is missing or does not go with an adapter."""
        if model_folder is not None:
            raise ConfigError(
                "--model-folder: an adapter goes to the store, by --name; only --method full makes a model"
            )
        if not name:
            raise click.UsageError("missing option '--name'")
        if AdapterRef.parse(name).digest:
            raise RefError(f"{name}: a digest follows from the content; publish under name[:tag]", field="name")
        return cls(name)

    @property
    def run_folder(self) -> Path:
        """Where its run works when nobody says where."""
        return run_folder_of(self.name)

    def begin(self, config: TrainConfig) -> None:
        """Nothing to say beforehand."""

    def into(self, run: Path) -> Path:
        """The folder that training writes to, in the folder of the run."""
        return run / "adapter"

    def deliver(self, result: TrainResult) -> Delivered:
        """Into the store; the adapter's folder stays when that fails."""
        try:
            published = Store.default().publish(result.folder, self.name)
        except (AdapterHubError, OSError):
            click.echo(f"the trained adapter was not published; it is in {result.folder}", err=True)
            raise
        return Delivered({"ref": published.label, "digest": str(published.digest)}, str(published))


class ToFolder(NamedTuple):
    """A model, written to a folder of its own."""

    folder: Path

    @classmethod
    def checked(cls, name: str | None, model_folder: Path | None) -> ToFolder:
        """Raises ConfigError for what is missing or does not go with a model."""
        if name:
            raise ConfigError(
                "--name: method full makes a model, which is no adapter; give --model-folder", field="name"
            )
        if model_folder is None:
            raise ConfigError("--model-folder: missing; method full needs a new folder to write the model to")
        return cls(model_folder)

    @property
    def name(self) -> str:
        """What the run's record calls it."""
        return str(self.folder.absolute())

    @property
    def run_folder(self) -> None:
        """It has checkpoints, each as large as the model, where `--run-folder` says where."""

    def begin(self, config: TrainConfig) -> None:
        """Say what it will take. Raises as `EmptyBase.read`."""
        from adapterhub.base import EmptyBase

        weights = EmptyBase.read(config.base).num_parameters
        click.echo(f"full fine-tuning takes {BYTES_PER_WEIGHT} bytes for each of {weights:,} weights", err=True)

    def into(self, run: Path) -> Path:
        """The folder that training writes to."""
        return self.folder

    def deliver(self, result: TrainResult) -> Delivered:
        """It is where it was to go."""
        return Delivered({"model": str(self.folder), "digest": result.model.base.digest}, str(self.folder))


Target = ToStore | ToFolder


def target_of(config: TrainConfig, name: str | None, model_folder: Path | None) -> Target:
    """What `config` makes, and where it goes. Raises as their `checked`."""
    return (ToFolder if config.method == FULL else ToStore).checked(name, model_folder)


def run_folder_of(name: str) -> Path:
    """Where the run of an adapter works when nobody says where. Raises RefError."""
    parsed = AdapterRef.parse(name)
    return effective().settings.runs / f"{parsed.name}@{parsed.tag}"
