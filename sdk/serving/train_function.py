"""The child process of `train` for a function: calls the function and stores its result."""

from __future__ import annotations

import inspect
import json
import os
import pickle
import sys
from importlib import import_module
from pathlib import Path
from typing import Any


def main() -> None:
    """Call the function in MLPORT_TRAIN_FUNCTION with those of data, params and output that it accepts."""
    with Path(os.environ["MLPORT_TRAIN_FUNCTION"]).open("rb") as file:
        function = pickle.load(file)  # noqa: S301 - the user's own function, sent with the job
    output = Path(os.environ["MLPORT_OUTPUT_DIR"])
    offered: dict[str, Any] = {
        "data": {
            name.removeprefix("MLPORT_DATA_").lower(): path
            for name, path in os.environ.items()
            if name.startswith("MLPORT_DATA_")
        },
        "params": json.loads(os.environ["MLPORT_PARAMS"]),
        "output": str(output),
    }
    wanted = inspect.signature(function).parameters
    result = function(**{name: value for name, value in offered.items() if name in wanted})
    if result is not None:
        _store(result, output)


def _store(result: Any, output: Path) -> None:
    """Store a model in mlport's format if the modules for that came with the function; all else as a pickle."""
    library = Path(os.environ["MLPORT_TRAIN_FUNCTION"]).with_name("lib")
    if library.is_dir():
        sys.path.append(str(library))  # last, so that it shadows no module of the user
        sys.dont_write_bytecode = True  # the program is sealed: it must not get cache files
        if import_module("sdk.packaging.handover").hand_over(result, output / "model"):
            return
    cloudpickle: Any = import_module("cloudpickle")
    with (output / "model.pkl").open("wb") as file:
        cloudpickle.dump(result, file)


if __name__ == "__main__":
    main()
