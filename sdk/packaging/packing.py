"""What may be said about how a model is packed; by itself, so that the verbs know it without loading the packer."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypedDict

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


class Packing(TypedDict, total=False):
    """What may be said about how a model is packed; every key is optional.

    Keys:
        requirements: A list of requirement lines, or a requirements file as pip reads it, with ``-r`` and ``-c`` lines.
            They are added to what is found out; a line with a version replaces the one that was found, and a
            constraint (``-c``) limits it. Folders with ``pyproject.toml`` and ``.whl`` files are built and travel with
            the model; a :class:`~pathlib.Path` in the list always names one.
        code: Modules or package folders of yours that the model imports by name. ``"."`` packs the content of the
            folder. Keys, hidden files, caches, virtual environments, what ``.gitignore`` names and data above 10 MiB
            stay here, which a log line says; a file that is named itself is packed.
        index_url: Package index that replaces the default one; without credentials, which belong into ``~/.netrc``
            or the environment.
        extra_index_urls: Package indexes that are asked first.
        find_links: Folders of wheels that are looked into as well; those that are locked travel with the model.
        torch_backend: Which PyTorch builds to lock: ``"cpu"``, ``"cu126"``, …
        build_from_source: Names of packages that have no wheel and whose authors you trust: their build scripts run on
            this machine, without credentials in their environment, and the wheels travel with the model. All others
            are taken as wheels only.
    """

    requirements: Sequence[str | Path] | str | Path | None
    code: str | Path | Sequence[str | Path]
    index_url: str | None
    extra_index_urls: Sequence[str]
    find_links: Sequence[str | Path]
    torch_backend: str | None
    build_from_source: Sequence[str]
