"""What a generated text must be: JSON of a schema, what a regular expression matches, a choice, a grammar. No torch."""

from adapterhub.structure.structure import Structure
from adapterhub.structure.structures import Structures

__all__ = ["Structure", "Structures"]
