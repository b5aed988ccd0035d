"""What is installed, chosen and wrong: what `adapterhub doctor` tells."""

from adapterhub.doctor.finding import Finding, Level
from adapterhub.doctor.run import examine

__all__ = ["Finding", "Level", "examine"]
