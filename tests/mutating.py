"""Answers that are valid JSON and of another shape than expected: one value in them is replaced or missing."""

from __future__ import annotations

import copy
import json
import random
from typing import TYPE_CHECKING, Any

import httpx

from sdk.errors import SdkError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

STRANGE: tuple[Any, ...] = (None, [], {}, 0, -1.5, "x", "", True, [None], {"a": [1]}, [[{}]])


class Mutator:
    """Changes one place of an answer now and then.

    Attributes:
        chance: Source of chance; ``None`` lets every answer pass as it is.
        changed: What was done to the last one.
    """

    def __init__(self) -> None:
        self.chance: random.Random | None = None
        self.changed = ""

    def __call__(self, data: bytes) -> bytes:
        if self.chance is None or self.chance.random() < 0.4:
            return data
        try:
            value = json.loads(data)
        except ValueError:
            return data
        return json.dumps(self.mutated(value)).encode()

    def mutated(self, value: Any) -> Any:
        """A copy with one place replaced or left out."""
        assert self.chance is not None
        value = copy.deepcopy(value)
        places = list(_places(value))
        holder, key = self.chance.choice(places) if places else (None, None)
        if holder is None:
            self.changed = "all of it"
            return self.chance.choice(STRANGE)
        self.changed = f"{key!r}"
        if isinstance(holder, dict) and self.chance.random() < 0.3:
            del holder[key]
        else:
            holder[key] = self.chance.choice(STRANGE)
        return value


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every place in a value, and the whole of it."""
    yield None, None
    pending = [value]
    while pending:
        one = pending.pop()
        for key in list(one) if isinstance(one, dict) else range(len(one)) if isinstance(one, list) else ():
            yield one, key
            pending.append(one[key])


class Transport(httpx.BaseTransport):
    """The network, with answers changed on the way."""

    def __init__(self, inner: httpx.BaseTransport, mutator: Mutator) -> None:
        self._inner, self._mutator = inner, mutator

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """One request."""
        response = self._inner.handle_request(request)
        data = self._mutator(b"".join(response.stream))  # type: ignore[arg-type]  # of a blocking transport
        response.close()
        headers = {name: value for name, value in response.headers.items() if name != "content-length"}
        return httpx.Response(response.status_code, headers=headers, content=data)

    def close(self) -> None:
        """Let go of the connections."""
        self._inner.close()


def looks(adapter: Any, name: str) -> Mapping[str, Callable[[], Any]]:
    """What an adapter can be asked without changing anything."""
    return {
        "observe": lambda: adapter.status(name, adapter.observe(name, timeout=5.0)),
        "list": lambda: list(adapter.list(timeout=5.0)),
        "job": lambda: adapter.job_status(name, timeout=5.0),
        "lease": lambda: adapter.lease_read("locks/x", timeout=5.0),
        "metrics": lambda: adapter.metrics(name, window_s=60.0, timeout=5.0),
        "logs": lambda: list(adapter.logs(name, tail=3)),
        "doctor": lambda: list(adapter.doctor()),
    }


def survive(mutator: Mutator, make: Callable[[], Any], name: str, rounds: int) -> list[str]:
    """Asks a new adapter each time, with other answers; what got out that is none of our errors."""
    wrong: list[str] = []
    for seed in range(rounds):
        adapter = make()
        try:
            for what, look in looks(adapter, name).items():
                mutator.chance = random.Random(f"{seed} {what}")
                try:
                    look()
                except SdkError:
                    continue
                except Exception as error:  # noqa: BLE001  # the point of the test
                    wrong.append(f"{what} {seed}: {mutator.changed}: {type(error).__name__}: {error}"[:200])
        finally:
            mutator.chance = None
            adapter.close()
    return wrong
