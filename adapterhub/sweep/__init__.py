"""Several adapters trained over one loaded base, to find the best: methods x options x settings."""

from adapterhub.sweep.grid import Sweep, Trial
from adapterhub.sweep.outcome import Outcome, ranked

__all__ = ["Outcome", "Sweep", "Trial", "ranked"]
