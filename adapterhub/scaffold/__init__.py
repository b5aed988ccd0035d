"""A new plugin as a project that passes its tests at once."""

from adapterhub.scaffold.project import write_project

__all__ = ["write_project"]
