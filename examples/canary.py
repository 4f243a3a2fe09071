"""A canary that is judged by what it does: a new model gets a tenth of the traffic, and stays only if it is well.

Runs on this machine alone; set ``MLPORT_TARGET`` to run the same file somewhere else.
"""

from typing import Any

import numpy as np

import sdk
from sdk.errors import ModelError

NAME = "example-canary"
REQUESTS = 200


def good(rows: Any) -> Any:
    """A model that works."""
    return rows.sum(axis=1)


def bad(rows: Any) -> Any:
    """A model that fails for some rows, which no smoke test finds."""
    if rows[0, 0] > 0.5:
        raise ValueError("this row is too big for me")
    return rows.sum(axis=1)


def main() -> None:
    """Deploy, try a bad model as a canary, see its errors, roll it back."""
    example = np.zeros((2, 3))
    endpoint = sdk.deploy(sdk.model(good, name=NAME, example=example))
    endpoint = sdk.deploy(sdk.model(bad, name=NAME, example=example), traffic=10)
    print(f"canary    {endpoint.status.traffic}")
    random = np.random.default_rng(0)
    failed = 0
    for _ in range(REQUESTS):
        try:
            endpoint.predict(random.random((1, 3)))
        except ModelError:
            failed += 1
    print(f"asked     {REQUESTS} times, {failed} failed")
    if failed:
        endpoint.rollback()
        print(f"back to   {endpoint.refresh().traffic}")
    print(f"answer    {endpoint.predict(np.ones((1, 3))).values}")


if __name__ == "__main__":
    try:
        main()
    finally:
        sdk.delete(NAME)
