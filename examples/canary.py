"""A canary that is judged by its behaviour: a new model gets a tenth of the traffic, and stays only if it works.

Runs on this machine; set ``MLPORT_TARGET`` to run the same file somewhere else.
"""

from typing import Any

import numpy as np

import sdk
from sdk.errors import ModelError

NAME = "example-canary"
REQUESTS = 200


def good(rows: Any) -> Any:
    """Return the sum of each row: a model that works."""
    return rows.sum(axis=1)


def bad(rows: Any) -> Any:
    """Return the sum of each row, but fail for some rows, which a smoke test does not detect."""
    if rows[0, 0] > 0.5:
        raise ValueError("this row is too big for me")
    return rows.sum(axis=1)


def main() -> None:
    """Deploy a model, try a bad one as a canary, count its errors and roll it back."""
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
