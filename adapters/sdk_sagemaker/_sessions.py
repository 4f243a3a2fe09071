"""Storage of role sessions in the cache of the AWS CLI, so that users enter an MFA code only once.

The library itself keeps them in memory only, and asks for an MFA code with each command.
Source: https://github.com/boto/botocore/blob/develop/botocore/credentials.py (AssumeRoleProvider, ``cache``)
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

FOLDER = (".aws", "cli", "cache")  # below the home folder: the cache of the AWS CLI, which names the files alike


def keep_sessions(core: Any) -> None:
    """Make a botocore session read and write the AWS CLI's session cache; only the owner may read its files."""
    cache = import_module("botocore.utils").JSONFileCache(str(Path.home().joinpath(*FOLDER)))
    provider: Any = core.get_component("credential_provider").get_provider("assume-role")
    provider.cache = cache
