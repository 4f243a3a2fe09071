"""Entry point of ``python -m sdk VERB …``, which does the same as ``mlport VERB …``."""

from __future__ import annotations

from .cli import entry

entry()
