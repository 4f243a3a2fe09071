"""The `local` target: endpoints and training jobs as plain processes, without root and without Docker."""

from .adapter import LocalAdapter
from .options import LocalOptions

__all__ = ["LocalAdapter", "LocalOptions"]
