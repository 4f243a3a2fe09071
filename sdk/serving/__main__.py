"""`python -m mlport_serving [serve|train|gateway]`: the entrypoint of every image and local process."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from . import collector, crashes

if TYPE_CHECKING:
    from collections.abc import MutableMapping

_USAGE = "usage: python -m mlport_serving [serve | train [-- ARGUMENT …] | gateway --dir DIR]"


def main(argv: list[str]) -> int:
    """Run the named role and return its exit code; no name means `serve`."""
    role, rest = (argv[0], argv[1:]) if argv else ("serve", [])
    if role == "serve":
        if rest:
            return _refuse(f"`serve` takes no arguments, got {' '.join(rest)!r}; it is configured by environment")
        _limit_threads(os.environ)
        collector.rest()
        from .serve import main as serve

        crashes.report()
        return serve()
    if role == "train":
        from .train import main as train

        return train(rest)
    if role == "gateway":
        from .gateway import main as gateway

        return gateway(rest)
    return _refuse(f"unknown role {role!r}; expected serve, train or gateway")


def _limit_threads(env: MutableMapping[str, str]) -> None:
    """Set the thread counts that numeric libraries read when imported; values that the user set are kept."""
    threads = env.get("MLPORT_THREADS")
    if threads:
        for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS"):
            env.setdefault(name, threads)


def _refuse(sentence: str) -> int:
    sys.stderr.write(f"{sentence}\n{_USAGE}\n")
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
