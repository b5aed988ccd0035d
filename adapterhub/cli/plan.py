"""`adapterhub plan`: the price of an adapter before it exists."""

from __future__ import annotations

from dataclasses import asdict

import click
from rich.filesize import decimal

from adapterhub.cli.config_flags import config_flags, given
from adapterhub.cli.options import parse_options
from adapterhub.cli.output import echo_json, echo_record, echo_table
from adapterhub.estimate import Estimate, EstimateConfig, Training

TRAINING = ("TRAINING", "BASE", "WEIGHTS", "ADAPTER", "GRADS", "OPTIM.", "ACTIV.", "LOGITS", "PEAK")
EXAMPLE = "adapterhub plan --base smollm2-135m --method lora -o r=16 --batch-size 4"
SERVING = ("SERVED ON", "ONE ADAPTER", "IN A GIB")


@click.command("plan")
@config_flags(EstimateConfig)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(as_json: bool, options: tuple[str, ...], **values: str | None) -> None:
    """Tell what an adapter would cost to train and to serve.

    No weight is read. Sizes of tensors are exact. Activations, logits and peaks of memory are estimates, for
    examples that are all of --max-length; "+ checkpoints" is the same with gradient checkpoints.
    """
    config = EstimateConfig.load(given(values) | {"options": parse_options(options)}, where="plan")

    from adapterhub.estimate import estimate

    found = estimate(config)
    if as_json:
        echo_json(asdict(found))
        return
    echo_record(_record(found))
    click.echo()
    echo_table(TRAINING, [row for training in found.training for row in _rows(training)])
    click.echo()
    resident = found.resident.items()
    echo_table(SERVING, [(name, f"{held.bytes:,} bytes", f"{held.per_gib:,}") for name, held in resident])


def _record(found: Estimate) -> dict[str, str]:
    revision = f"@{found.revision}" if found.revision else ""
    return {
        "base": f"{found.base}{revision} ({found.base_parameters:,} parameters)",
        "method": found.method,
        "trainable parameters": f"{found.trainable_parameters:,} ({found.trainable_share:.3%} of the base's)",
        "adapter": f"{found.adapter_parameters:,} parameters, {found.adapter_bytes:,} bytes",
        "batch": f"{found.batch_size} x {found.max_length} tokens, on {found.device}",
    }


def _rows(training: Training) -> list[tuple[str, ...]]:
    """One way to train, and the same with gradient checkpoints."""
    sizes = (training.weight_bytes, training.adapter_bytes, training.gradient_bytes, training.optimizer_bytes)
    plain = (*sizes, training.activation_bytes, training.logit_bytes, training.peak_bytes)
    checkpointed = (
        *sizes, training.checkpointed_activation_bytes, training.logit_bytes, training.checkpointed_peak_bytes,
    )  # fmt: skip
    return [
        (training.name, training.quantization, *map(decimal, plain)),
        ("+ checkpoints", training.quantization, *map(decimal, checkpointed)),
    ]
