"""Requests that wait together share one call of the model: which, how many, and who is answered what."""

from __future__ import annotations

import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import httpx
import numpy as np
import pytest

from sdk.serving.batches import Batches, DurationModel
from sdk.serving.codecs import Input
from sdk.serving.failures import RequestError
from sdk.serving.outputs import Outputs
from sdk.serving.scheduler import ModelRaised, Scheduler
from sdk.serving.settings import ServerLimits
from sdk.serving.signature import ServedSignature, ServedTensor

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

SIGNATURE = ServedSignature(
    inputs=[ServedTensor("x", "float64", (-1, 2))], outputs=[ServedTensor("predict", "float64", (-1,))], rowwise=True
)


def rows(*values: float, dtype: Any = np.float64) -> Input:
    """A request with one row for each value."""
    return Input({"x": np.array([[value, 1] for value in values], dtype=dtype)}, None, len(values))


class Model:
    """Doubles the first value of each row, and remembers its calls.

    The first call waits until it is let go, so that requests can gather meanwhile.
    """

    def __init__(self) -> None:
        self.calls: list[list[float]] = []
        self.threads: list[str] = []
        self.called = threading.Event()
        self.first_goes_on = threading.Event()
        self.seconds = 0.0

    def __call__(self, given: Input) -> Outputs:
        values = given.tensors["x"][:, 0].tolist()
        self.calls.append(values)
        self.threads.append(threading.current_thread().name)
        self.called.set()
        if len(self.calls) == 1:
            assert self.first_goes_on.wait(30)
        if self.seconds:
            time.sleep(self.seconds)
        if 13.0 in values:
            raise ValueError("no luck")
        return Outputs({"predict": np.array([2 * value for value in values], dtype=given.tensors["x"].dtype)})


def served(
    model: Callable[[Input], Outputs],
    use: Callable[[Scheduler], Coroutine[Any, Any, None]],
    *,
    signature: ServedSignature = SIGNATURE,
    on_loop: bool = False,
    **limits: Any,
) -> None:
    """Use a scheduler with this model on an event loop of its own."""

    async def run() -> None:
        found = ServerLimits(**limits)
        batches = Batches(signature, most=found.max_batch, p95_ms=found.p95_ms, clock=time.monotonic)
        # sizes are learned in other tests; here a call may be as large as it wants
        for size in range(1, 9):
            for _ in range(3):
                batches.cost.note(2**size - 1, 0.0001)
        scheduler = Scheduler(found, asyncio.get_running_loop(), batches, on_loop=on_loop)
        loaded = asyncio.Event()
        scheduler.start(lambda: model, lambda _: loaded.set())
        await loaded.wait()
        await use(scheduler)

    asyncio.run(run())


async def asked(scheduler: Scheduler, *given: Input, model: Model, **how: Any) -> list[Any]:
    """What requests get that wait while the model is busy with another one; exceptions as they are."""
    tasks = [asyncio.ensure_future(scheduler.predict(rows(-1), time.monotonic() + 60, lambda: False))]
    await asyncio.to_thread(model.called.wait, 30)
    deadline, gone = time.monotonic() + how.get("within_s", 60), how.get("gone", lambda: False)
    tasks += [asyncio.ensure_future(scheduler.predict(one, deadline, gone)) for one in given]
    await asyncio.sleep(how.get("pause", 0.01))
    model.first_goes_on.set()
    found = await asyncio.gather(*tasks, return_exceptions=True)
    return [one.arrays["predict"].tolist() if isinstance(one, Outputs) else one for one in found[1:]]


def test_what_waits_shares_one_call() -> None:
    """Five requests that came while the model was busy are one call, and each gets its own rows."""
    model = Model()

    async def use(scheduler: Scheduler) -> None:
        found = await asked(scheduler, rows(1), rows(2, 3), rows(4), rows(5, 6, 7), rows(8), model=model)
        assert [[2.0], [4.0, 6.0], [8.0], [10.0, 12.0, 14.0], [16.0]] == found
        assert [[-1.0], [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]] == model.calls
        assert '_bucket{le="8"} 1' in "\n".join(scheduler.joined.lines(""))

    served(model, use)


def test_one_bad_row_fails_alone() -> None:
    """The call that it makes fail is made again for each request."""
    model = Model()

    async def use(scheduler: Scheduler) -> None:
        before, bad, after = await asked(scheduler, rows(1), rows(13), rows(2), model=model)
        assert ([2.0], [4.0]) == (before, after)
        assert isinstance(bad, ModelRaised)
        assert "no luck" in str(bad)

    served(model, use)


def test_other_types_and_shapes_are_not_joined() -> None:
    """Requests of one type are joined although another one waits between them; each is answered."""
    model = Model()
    wide = Input({"x": np.ones((1, 5))}, None, 1)

    async def use(scheduler: Scheduler) -> None:
        found = await asked(scheduler, rows(1), rows(2, dtype=np.float32), wide, rows(3), rows(4), model=model)
        assert [[2.0], [4.0], [2.0], [6.0], [8.0]] == found
        assert [[-1.0], [1.0, 3.0, 4.0], [2.0], [1.0]] == model.calls

    served(model, use)


@pytest.mark.parametrize(
    "signature",
    [
        ServedSignature(inputs=SIGNATURE.inputs, outputs=SIGNATURE.outputs),
        ServedSignature(outputs=SIGNATURE.outputs, rowwise=True),
    ],
    ids=["rows are not independent", "nothing is known of the input"],
)
def test_models_that_are_not_joined(signature: ServedSignature) -> None:
    """Without the promise that rows are independent, or without types, every request has its own call."""
    model = Model()

    async def use(scheduler: Scheduler) -> None:
        assert [[2.0], [4.0]] == await asked(scheduler, rows(1), rows(2), model=model)
        assert [[-1.0], [1.0], [2.0]] == model.calls

    served(model, use, signature=signature)


def test_joining_can_be_switched_off() -> None:
    model = Model()

    async def use(scheduler: Scheduler) -> None:
        assert [[2.0], [4.0]] == await asked(scheduler, rows(1), rows(2), model=model)
        assert [[-1.0], [1.0], [2.0]] == model.calls

    served(model, use, max_batch=1)


def test_a_call_has_no_more_rows_than_allowed() -> None:
    """The oldest come first; a request that is larger than the limit has its own call."""
    model = Model()

    async def use(scheduler: Scheduler) -> None:
        requests = [rows(1), rows(2, 3), rows(*range(100, 106)), rows(4), rows(5)]
        found = await asked(scheduler, *requests, model=model)
        assert [2.0] == found[0]
        assert [[1.0, 2.0, 3.0, 4.0], [*map(float, range(100, 106))], [5.0]] == model.calls[1:]

    served(model, use, max_batch=4)


def test_work_that_is_not_wanted_any_more_is_dropped() -> None:
    """Requests whose client left or whose deadline is over take part in no call."""
    model = Model()

    async def use(scheduler: Scheduler) -> None:
        late = await asked(scheduler, rows(1), rows(2), model=model, within_s=0.3, pause=0.5)
        assert [504, 504] == [one.status for one in late if isinstance(one, RequestError)]
        assert [[-1.0]] == model.calls

    served(model, use)
    left = Model()

    async def leave(scheduler: Scheduler) -> None:
        await asked(scheduler, rows(1), rows(2), model=left, gone=lambda: True)
        assert [[-1.0]] == left.calls

    served(left, leave)


@pytest.mark.parametrize("answer", [np.array([1, 2]), np.array(["a", None], dtype=object), np.array([3.0])])
def test_answers_that_cannot_be_cut_are_asked_for_again(answer: Any) -> None:
    """Another type than the signature declares may come from the other rows: each request has its own call then."""
    calls: list[int] = []
    model = Model()

    def odd(given: Input) -> Outputs:
        calls.append(given.rows)
        return Outputs({"predict": answer}) if given.rows == 2 else model(given)

    async def use(scheduler: Scheduler) -> None:
        assert [[2.0], [4.0]] == await asked(scheduler, rows(1), rows(2), model=model)
        assert [1, 2, 1, 1] == calls
        model.first_goes_on.clear()
        model.calls.clear()
        calls.clear()
        assert [[2.0], [4.0]] == await asked(scheduler, rows(1), rows(2), model=model)
        assert [1, 1, 1] == calls, "it is not tried again"

    served(odd, use)


@pytest.mark.parametrize(
    ("answer", "is_cut"),
    [(np.array([1, 2]), True), (np.array([0.5, 2]), True), (np.array(["a", "b"], dtype=object), False)],
)
def test_numbers_of_a_library_need_no_declaration(answer: Any, is_cut: bool) -> None:
    """A model file that was never loaded declares no outputs; its library gives all rows the same type."""
    inputs = ServedSignature(inputs=SIGNATURE.inputs, rowwise=True)
    for library in (True, False):
        batches = Batches(inputs, most=100, p95_ms=0, clock=time.monotonic, library=library)
        cut = batches.cut(Outputs({"predict": answer}), [1, 1])
        assert (is_cut and library) == (cut is not None)


def test_short_calls_are_made_on_the_loop_and_long_ones_are_not() -> None:
    """A call that turns out to be slow is the last one there; the loop answers while the next ones run."""
    model = Model()
    model.first_goes_on.set()
    main = threading.current_thread().name

    async def use(scheduler: Scheduler) -> None:
        async def predict(value: float) -> list[float]:
            outputs = await scheduler.predict(rows(value), time.monotonic() + 60, lambda: False)
            return list(outputs.arrays["predict"].tolist())

        await predict(0)
        assert [[2.0 * value] for value in range(5)] == await asyncio.gather(*map(predict, range(5)))
        assert [0.0, 1.0, 2.0, 3.0, 4.0] == model.calls[-1]
        assert main == model.threads[-1]
        model.seconds = 0.05
        for _ in range(3):
            await predict(1)
        assert main != model.threads[-1]
        model.called.clear()
        waiting = asyncio.ensure_future(predict(2))
        await asyncio.to_thread(model.called.wait, 30)
        assert not waiting.done(), "the loop went on during the call"
        assert [4.0] == await waiting

    served(model, use, on_loop=True)


@pytest.mark.parametrize(("fixed", "each", "least", "most"), [
    (0.0, 1.0, 1, 1),  # nothing is won by joining
    (0.0045, 0.000015, 512, 2000),  # a forest
    (0.3, 0.001, 200, 600),  # the fixed part alone is beyond the budget: twice as long as one row
    (0.0001, 0.0000001, 2**14, 2**20),
])  # fmt: skip
def test_calls_grow_as_far_as_it_pays(fixed: float, each: float, least: int, most: int) -> None:
    """What the calls cost is learned although most of them are disturbed."""
    noise = np.random.default_rng(5)
    cost = DurationModel(0.02, 2**20, lambda: 0.0)
    for _ in range(200):
        size = cost.most()
        for _ in range(3):
            cost.note(size, (fixed + each * size) * (1 + noise.exponential(0.3)))
    assert least <= cost.most() <= most


def test_a_slow_minute_is_forgotten() -> None:
    """Calls that a busy machine made slow do not keep later ones small."""
    now = 0.0
    cost = DurationModel(0.02, 4096, lambda: now)

    def learn(factor: float) -> int:
        for _ in range(100):
            size = cost.most()
            for _ in range(3):
                cost.note(size, factor * (0.002 + 0.0001 * size))
        return cost.most()

    quick = learn(1)
    slow = learn(50)
    now = 60.0
    assert slow < quick // 2
    assert learn(1) == pytest.approx(quick, rel=0.2)


def _slowly(given: Any) -> Any:
    """Doubles the first column; a zero takes half a second."""
    time.sleep(0.5 if 0 in given[:, 0] else 0)
    return given[:, 0] * 2


def test_requests_of_a_real_server_share_calls(bundles: Any, start: Callable[..., Any]) -> None:
    """Twenty clients that come during a long call are answered by few calls, each with its own rows."""
    signature = {
        "inputs": [{"name": "x", "dtype": "float64", "shape": [-1, 2]}],
        "outputs": [{"name": "predict", "dtype": "float64", "shape": [-1]}],
        "rowwise": True,
    }
    server = start(bundles.function(_slowly, signature=signature, options={"p95_ms": 1000})).ready()
    with httpx.Client(base_url=server.url, timeout=60) as client, ThreadPoolExecutor(20) as pool:

        def ask(value: float) -> Any:
            rows = [[value, 0.0], [value + 0.25, 0.0]]
            return client.post("/invocations", json={"instances": rows}).json()["predictions"]

        for _ in range(20):  # calls may grow to twice the largest one seen
            ask(1)
        for _ in range(3):
            first = pool.submit(ask, 0)
            time.sleep(0.1)
            assert [[2.0 * n, 2 * n + 0.5] for n in range(1, 20)] == list(pool.map(ask, range(1, 20)))
            assert [0.0, 0.5] == first.result()
        metrics = client.get("/metrics").text
    shared = dict(line.split() for line in metrics.splitlines() if line.startswith("mlport_joined_requests_"))
    assert float(shared["mlport_joined_requests_sum"]) > 2 * float(shared["mlport_joined_requests_count"]) > 0


def test_an_answer_is_sent_in_one_piece(bundles: Any, start: Callable[..., Any]) -> None:
    """Head and body come together: two packets for each answer cost a quarter of the server's time."""
    server = start(bundles.function(lambda rows: rows)).ready()
    body = b'{"instances": [1]}'
    request = b"POST /invocations HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 18\r\n\r\n"
    with server.connect() as connection:
        for _ in range(50):
            connection.sendall(request + body)
            assert connection.recv(65536).endswith(b'{"predictions":[1]}')
