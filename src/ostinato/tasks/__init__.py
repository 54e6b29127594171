"""Tasks: the only place where data and models meet, and where names become classes."""

from ..registry import tasks
from . import language as language  # fills the registry

__all__ = ["tasks"]
