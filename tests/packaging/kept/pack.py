"""Pack the bundle that later versions must still serve: ``python -m tests.packaging.kept.pack`` on each version.

It is locked to the oldest runtime libraries that its version of mlport allows, and to a library of which the index of
the test has a newer version as well.
"""

from __future__ import annotations

import os
import tempfile
from importlib.metadata import version
from pathlib import Path

from sdk.packaging.lock import RUNTIME
from sdk.packaging.model import model
from sdk.packaging.pack import python_minor
from tests.packaging import aged_index

HERE = Path(__file__).parent


def scaled(rows: list[list[float]]) -> list[float]:
    """Depends on the version of the library that is installed where it runs."""
    import agedlib  # type: ignore[import-not-found]

    return [sum(row) * agedlib.VALUE for row in rows]


def main() -> None:
    """Write ``mlport-VERSION-pythonMINOR.tar.gz`` beside this file."""
    target = HERE / f"mlport-{version('mlport')}-python{python_minor()}.tar.gz"
    oldest = [line.partition(",")[0].replace(">=", "==") for line in RUNTIME]
    with tempfile.TemporaryDirectory() as folder, aged_index.serving(Path(folder), (aged_index.OLD,)) as index:
        os.environ |= {"MLPORT_STATE_DIR": f"{folder}/state", "UV_INDEX": index.url, "UV_NO_CACHE": "1"}
        packed = model(scaled, name="kept", requirements=[f"{aged_index.NAME}=={aged_index.OLD}", *oldest])
        packed.save(target)
    print(target.name, packed.digest, target.stat().st_size)  # noqa: T201  its answer


if __name__ == "__main__":
    main()
