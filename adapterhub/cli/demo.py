"""`adapterhub demo`: the main job from training to serving, on the built-in base."""

from __future__ import annotations

import click

from adapterhub.errors import AdapterHubError

EXAMPLE = "adapterhub demo"


@click.command("demo")
def command() -> None:
    """Train two adapters, serve both from shared batches, swap in a third.

    Their methods differ. Takes some minutes on two cores and leaves the adapters in the store. Exits with 1
    when training did not reach its goals.
    """
    from adapterhub.demo import run_demo

    if missed := run_demo():
        raise AdapterHubError("; ".join(missed))
