"""What travels with a training program."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

from sdk.packaging import handover

if TYPE_CHECKING:
    from pathlib import Path

_ALONE = """
import sys
sys.meta_path = [finder for finder in sys.meta_path if "editable" not in repr(finder)]
sys.path = [sys.argv[1], *(path for path in sys.path if "site-packages" in path or "python3" in path)]
from sdk.packaging import handover
from sdk.packaging.flavours import flavour_of
print(handover.__file__.startswith(sys.argv[1]), flavour_of(len).name)
"""


def test_the_modules_of_a_job_need_no_others(tmp_path: Path) -> None:
    """In a job there is no other part of this library: what is imported there must have travelled with it."""
    for name, data in handover.shipped():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(data)
    run = subprocess.run(
        [sys.executable, "-c", _ALONE, str(tmp_path)], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (run.stdout, run.stderr) == ("True function\n", "")
