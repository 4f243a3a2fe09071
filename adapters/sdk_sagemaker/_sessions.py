"""Sessions of roles of a profile are kept where the AWS CLI keeps them, so that a second factor is asked for once.

The library itself keeps them in memory only, and asks for the code of a device with each command.
Source: https://github.com/boto/botocore/blob/develop/botocore/credentials.py (AssumeRoleProvider, ``cache``)
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

FOLDER = (".aws", "cli", "cache")  # below the home folder: of the AWS CLI, which names the files alike


def keep_sessions(core: Any) -> None:
    """Let a session of botocore read and write the sessions that the AWS CLI keeps; each file is its owner's only."""
    cache = import_module("botocore.utils").JSONFileCache(str(Path.home().joinpath(*FOLDER)))
    provider: Any = core.get_component("credential_provider").get_provider("assume-role")
    provider.cache = cache
