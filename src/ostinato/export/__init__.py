"""Models as files that run without Python."""

from .c import CSource, c_source

__all__ = ["CSource", "c_source"]
