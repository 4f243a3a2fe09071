"""The options for packing a model, in a separate module so that the verbs can use it without loading the packer."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypedDict

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


class Packing(TypedDict, total=False):
    """The options for packing a model; every key is optional.

    Keys:
        requirements: A list of requirement lines, or a requirements file as pip reads it, with ``-r`` and ``-c`` lines.
            They are added to the detected requirements. A line with a version replaces a detected one, and a
            constraint (``-c``) limits it. Folders with ``pyproject.toml`` and ``.whl`` files are built and packed with
            the model; a :class:`~pathlib.Path` in the list always names one of these.
        code: Modules or package folders of yours that the model imports by name. ``"."`` packs the content of the
            folder. Keys, hidden files, caches, virtual environments, files ignored by ``.gitignore`` and data above
            10 MiB are left out, and a log line says so; a file that is named itself is packed.
        index_url: Package index that replaces the default one; without credentials, which belong in ``~/.netrc``
            or the environment.
        extra_index_urls: Package indexes that are searched first.
        find_links: Additional folders of wheels; the wheels that are locked are packed with the model.
        torch_backend: The kind of PyTorch builds to lock: ``"cpu"``, ``"cu126"``, …
        build_from_source: Names of packages that have no wheel and whose authors you trust: their build scripts run on
            this machine, without credentials in their environment, and the wheels are packed with the model. All other
            packages are taken as wheels only.
    """

    requirements: Sequence[str | Path] | str | Path | None
    code: str | Path | Sequence[str | Path]
    index_url: str | None
    extra_index_urls: Sequence[str]
    find_links: Sequence[str | Path]
    torch_backend: str | None
    build_from_source: Sequence[str]
