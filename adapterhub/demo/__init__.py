"""The main job, from training to serving: what `adapterhub demo` runs."""

from adapterhub.demo.demo import run_demo

__all__ = ["run_demo"]
