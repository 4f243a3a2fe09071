"""The models and scripts that the suites deploy and run: small, and identifiable by their answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from sdk.packaging.model import Model

ANSWER, FAIL, SLEEP, SAY, ENV, SECRET = 0.0, 1.0, 2.0, 3.0, 4.0, 5.0
"""The first value of a row determines what the model does with the second one."""

ENV_NAME, SECRET_NAME = "CONTRACT_VALUE", "CONTRACT_SECRET"
FAILURE = "contract: told to fail"
BROKEN = "contract: this model cannot be loaded"


class Samples:
    """Models by number: model ``n`` adds ``n`` to its input."""

    def __init__(self) -> None:
        self._made: dict[tuple[str, int], Model] = {}

    def model(self, n: int = 1) -> Model:
        """Return a model that answers row ``[ANSWER, x]`` with ``x + n``, and does other things for other actions."""
        return self._once("contract", n, lambda: behaving(n))

    def broken(self) -> Model:
        """Return a model that fails when the server loads it."""
        return self._once("broken", 0, breaking)

    def failing(self) -> Model:
        """Return a model that answers where it is packed and raises where it is served."""
        return self._once("failing", 0, failing_when_served)

    def streaming(self) -> Model:
        """Return a model that yields its answer."""
        return self._once("streaming", 0, yielding)

    def _once(self, name: str, n: int, make: Callable[[], Callable[..., Any]]) -> Model:
        from sdk.packaging.model import model

        if (name, n) not in self._made:
            self._made[name, n] = model(make(), name=name, example=[[ANSWER, 1.0]])
        return self._made[name, n]


def behaving(n: int) -> Callable[[Sequence[Sequence[float]]], list[float]]:
    """Return the function of model ``n``; nested, so that it is stored by value and needs no import where it runs."""
    failure = FAILURE

    def predict(rows: Sequence[Sequence[float]]) -> list[float]:
        import os
        import time

        answers: list[float] = []
        for action, value in rows:
            if action == 1:
                raise RuntimeError(failure)
            if action == 2:
                time.sleep(float(value))
            if action == 3:
                print(f"contract: told to say {value:g}", flush=True)  # noqa: T201 - the log line that is looked for
            name = {4.0: "CONTRACT_VALUE", 5.0: "CONTRACT_SECRET"}.get(float(action))
            answers.append(n + float(os.environ.get(name, "-1") if name else value))
        return answers

    return predict


def yielding() -> Callable[[Sequence[Sequence[float]]], Iterator[dict[str, int]]]:
    """Return a generator function: it yields ``x`` items, fails after ``x``, or pauses ``x`` seconds between them."""
    failure = FAILURE

    def predict(rows: Sequence[Sequence[float]]) -> Iterator[dict[str, int]]:
        import itertools
        import time

        ((action, value),) = rows
        for number in itertools.count():
            if action < 2 and number >= value:
                break
            if action == 2:
                time.sleep(float(value))
            yield {"item": number}
        if action == 1:
            raise RuntimeError(failure)

    return predict


def breaking() -> Callable[[Sequence[Sequence[float]]], list[float]]:
    """Return a function that can be stored but not loaded again."""

    def explode() -> None:
        raise RuntimeError("contract: this model cannot be loaded")

    class Mine:
        def __reduce__(self) -> tuple[Callable[[], None], tuple[()]]:
            return explode, ()

    mine = Mine()

    def predict(rows: Sequence[Sequence[float]]) -> list[float]:
        return [float(row[1]) for row in rows if mine]

    return predict


def failing_when_served() -> Callable[[Sequence[Sequence[float]]], list[float]]:
    """Return a function that answers once, when it is packed; its copy on the server remembers that."""
    asked: list[int] = []
    failure = FAILURE

    def look_up(row: Sequence[float]) -> float:
        if len(asked) > 1:
            raise LookupError(failure)
        return float(row[1])

    def predict(rows: Sequence[Sequence[float]]) -> list[float]:
        asked.append(len(rows))
        return [look_up(row) for row in rows]

    return predict


def failing(rows: Sequence[Sequence[float]]) -> list[float]:
    """Raise, as a model that always fails."""
    raise RuntimeError(FAILURE)


GOOD_SCRIPT = """
import argparse, json, pathlib

parser = argparse.ArgumentParser()
parser.add_argument("--C", type=float)
parser.add_argument("--train")
parser.add_argument("--output")
given = parser.parse_args()
C, rows = given.C, pathlib.Path(given.train)
text = (rows / "rows.csv" if rows.is_dir() else rows).read_text()
print(f"contract: {len(text.split())} rows, C={C:g}", flush=True)
print(json.dumps({"mlport_metric": {"loss": C / 2}}), flush=True)
out = pathlib.Path(given.output)
(out / "seen.json").write_text(json.dumps({"rows": len(text.split()), "C": C}))
"""

BAD_SCRIPT = """
import sys
print("contract: about to fail", flush=True)
sys.exit(3)
"""

LONG_SCRIPT = """
import time
print("contract: started", flush=True)
time.sleep(600)
"""


def write_script(folder: Path, text: str, name: str = "train.py") -> Path:
    """Write a training script to disk and return its path."""
    path = folder / name
    path.write_text(text)
    return path
