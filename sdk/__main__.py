"""``python -m sdk VERB …`` is ``mlport VERB …``."""

from __future__ import annotations

from .cli import entry

entry()
