"""The data plane against a real server that misbehaves on command."""

from __future__ import annotations

import asyncio
import json
import shlex
import socket
import subprocess
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from sdk.dataplane.invoke import Caller, EndpointFacts
from sdk.errors import (
    AuthError,
    InvalidInputError,
    ModelError,
    PayloadTooLargeError,
    TimedOut,
    UnavailableError,
    UnsupportedError,
)
from sdk.util.waiting import SystemClock, TokenBucket

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

FACTS = EndpointFacts("churn", "fake", rowwise=True, pinnable=True, models={"d1": "a" * 64})


class Clock(SystemClock):
    """Real time, but waiting only counts."""

    def __init__(self) -> None:
        self.slept: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def make(server: Any, scripted: Any, clock: Clock) -> Iterator[Callable[..., Caller]]:
    made: list[Caller] = []

    def build(facts: EndpointFacts = FACTS, bucket: TokenBucket | None = None, **changes: Any) -> Caller:
        target = scripted.invoker(changes.pop("url", server.url), **changes)
        made.append(
            Caller(target, facts, clock=clock, redact=lambda text: text.replace("hunter2", "[x]"), bucket=bucket)
        )
        return made[-1]

    yield build
    for caller in made:
        caller.close()


def test_a_platform_that_drops_request_ids_has_ours(server: Any, scripted: Any, make: Callable[..., Caller]) -> None:
    """An answer without an id has the one that was sent along."""
    server.script.append(scripted.Reply(200, {"predictions": [1]}, {"x-request-id": ""}))
    answer = make().predict([[1]])
    assert server.asked[0].headers["x-request-id"] == answer.request_id


def test_predict_gives_plain_values_and_where_they_came_from(server: Any, make: Callable[..., Caller]) -> None:
    """Values, deployment, model digest and request id come back with the answer."""
    answer = make().predict([[1, 2.5], [3, 4]])
    assert ([[1, 2.5], [3, 4]], "d1", "a" * 64) == (answer.values, answer.deployment, answer.model)
    assert server.asked[0].headers["x-request-id"] == answer.request_id
    assert "application/json" == server.asked[0].headers["content-type"]
    assert 0 < int(server.asked[0].headers["x-mlport-deadline-ms"]) <= 5000
    assert answer.latency_ms > 0


def test_a_default_answer_is_marked(server: Any, scripted: Any, make: Callable[..., Caller]) -> None:
    """Also if only one of several requests got it."""
    server.script.append(scripted.Reply(200, {"predictions": [-1], "default": True}))
    late, own = make().predict([[1]]), make().predict([[1]])
    assert (late.default, late.to_dict()["default"]) == (True, True)
    assert not own.default
    assert "default" not in own.to_dict()
    rows = [[place, 0.5] for place in range(500)]
    server.script = [scripted.Reply(200, {"predictions": [-1], "default": True}, {"x-mlport-deployment": "d1"})]
    assert make().predict(rows).default


def test_connections_are_pooled(server: Any, make: Callable[..., Caller]) -> None:
    """Ten calls use one connection."""
    caller = make()
    for _ in range(10):
        caller.predict([[1]])
    assert (10, 1) == (len(server.asked), server.connections)


def test_big_input_is_cut_and_pinned_to_one_deployment(server: Any, make: Callable[..., Caller]) -> None:
    """Rows over the limit go in several requests, all after the first to the deployment that answered it."""
    rows = [[place, 0.5] for place in range(500)]
    answer = make().predict(rows)
    assert rows == answer.values
    assert len(server.asked) > 1
    assert all(len(asked.body) <= 1000 for asked in server.asked)
    assert [None, *["d1"] * (len(server.asked) - 1)] == [
        asked.headers.get("x-mlport-deployment") for asked in server.asked
    ]


def test_big_input_of_a_model_that_is_not_rowwise_is_refused(server: Any, make: Callable[..., Caller]) -> None:
    """Without the promise of row-wise answers nothing is cut, and nothing sent."""
    with pytest.raises(PayloadTooLargeError, match="the target takes 1000"):
        make(EndpointFacts("churn", "fake")).predict([[1.0]] * 500)
    assert [] == server.asked


def test_one_row_that_does_not_fit_is_refused(server: Any, make: Callable[..., Caller]) -> None:
    """A row cannot be cut."""
    with pytest.raises(PayloadTooLargeError, match="one row has"):
        make().predict([["x" * 2000]])
    assert [] == server.asked


def test_read_timeout_is_never_repeated(server: Any, scripted: Any, make: Callable[..., Caller]) -> None:
    """A predict whose answer does not come in time raises TimedOut after one request."""
    server.script = [scripted.Reply(silent=True)]
    with pytest.raises(TimedOut, match=r"no answer within 0.2 s") as caught:
        make().predict([[1]], timeout=0.2)
    assert 1 == len(server.asked)
    assert server.asked[0].headers["x-request-id"] == caught.value.request_id


def test_reset_reused_connection_is_tried_once_more(server: Any, scripted: Any, make: Callable[..., Caller]) -> None:
    """A keep-alive connection that the server gave up costs no error."""
    caller = make()
    caller.predict([[1]])
    server.script = [scripted.Reply(cut=True)]
    assert [[2]] == caller.predict([[2]]).values
    assert [1, 1, 2] == [asked.connection for asked in server.asked]


def test_reset_new_connection_is_not_repeated(server: Any, scripted: Any, make: Callable[..., Caller]) -> None:
    """A request that may have been worked on is not sent again."""
    server.script = [scripted.Reply(cut=True)]
    with pytest.raises(UnavailableError) as caught:
        make().predict([[1]])
    assert (True, True, 1) == (caught.value.sent, caught.value.retryable, len(server.asked))


def test_reused_connections_are_forgiven_only_once(server: Any, scripted: Any, make: Callable[..., Caller]) -> None:
    """The second reset within one predict is an error."""
    caller = make()
    caller.predict([[1]])
    server.script = [scripted.Reply(cut=True), scripted.Reply(cut=True)]
    with pytest.raises(UnavailableError):
        caller.predict([[2]])
    assert 3 == len(server.asked)


@pytest.mark.parametrize(
    "headers",
    [{"retry-after": "2"}, {"retry-after": "Fri, 01 Jan 2100 00:00:02 GMT", "date": "Fri, 01 Jan 2100 00:00:00 GMT"}],
)
def test_retry_after_is_honoured(
    server: Any, scripted: Any, make: Callable[..., Caller], clock: Clock, headers: dict[str, str]
) -> None:
    """A 503 that says when to come again is repeated then, whether it gives seconds or a date."""
    server.script = [scripted.Reply(503, {}, headers)]
    assert [[1]] == make().predict([[1]]).values
    assert [2.0] == clock.slept


def test_busy_server_is_asked_three_times_at_most(server: Any, scripted: Any, make: Callable[..., Caller]) -> None:
    """After three refusals the platform's error is raised."""
    server.script = [scripted.Reply(503, {}, {"retry-after": "1"}) for _ in range(5)]
    with pytest.raises(UnavailableError, match="the platform refused") as caught:
        make().predict([[1]])
    assert (3, "predict", "churn") == (len(server.asked), caught.value.operation, caught.value.resource)


def test_503_without_retry_after_is_not_repeated(server: Any, scripted: Any, make: Callable[..., Caller]) -> None:
    """Nobody said that it was not worked on."""
    server.script = [scripted.Reply(503, {})]
    with pytest.raises(UnavailableError):
        make().predict([[1]])
    assert 1 == len(server.asked)


def test_pause_longer_than_the_deadline_is_not_begun(
    server: Any, scripted: Any, make: Callable[..., Caller], clock: Clock
) -> None:
    """Waiting cannot help when the time is over before its end."""
    server.script = [scripted.Reply(503, {}, {"retry-after": "30"})]
    with pytest.raises(UnavailableError):
        make().predict([[1]], timeout=5)
    assert [] == clock.slept


def test_empty_retry_budget_stops_retries(server: Any, scripted: Any, make: Callable[..., Caller]) -> None:
    """In an outage the callers of a target stop making it worse."""
    server.script = [scripted.Reply(503, {}, {"retry-after": "0"}) for _ in range(20)]
    caller = make(bucket=TokenBucket(tokens=28.0))
    for _ in range(4):
        with pytest.raises(UnavailableError):
            caller.predict([[1]])
    assert 4 + 2 == len(server.asked)


def test_refused_connection_is_proof_that_nothing_was_sent(make: Callable[..., Caller], clock: Clock) -> None:
    """With nobody listening the attempts are counted and the error says that nothing arrived."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(UnavailableError, match="cannot connect") as caught:
        make(url=f"http://127.0.0.1:{port}/").predict([[1]])
    assert (False, 2) == (caught.value.sent, len(clock.slept))


def test_model_that_refuses_the_input(server: Any, scripted: Any, make: Callable[..., Caller]) -> None:
    """A 400 of the model names the field and is not repeated; secrets in it are hidden."""
    server.script = [scripted.Reply(400, {"error": {"message": "bad hunter2", "field": "instances[0]"}})]
    with pytest.raises(InvalidInputError, match=r"bad \[x\]") as caught:
        make().predict([[1]])
    error = caught.value
    assert ("instances[0]", 400, False) == (error.field, error.status, error.retryable)
    assert "hunter2" not in error.body
    assert server.asked[0].headers["x-request-id"] == error.request_id


def test_model_that_fails(server: Any, scripted: Any, make: Callable[..., Caller]) -> None:
    """A 500 of the model is a ModelError with its status."""
    server.script = [scripted.Reply(500, {"error": {"message": "it broke"}})]
    with pytest.raises(ModelError, match="it broke") as caught:
        make().predict([[1]])
    assert (500, False) == (caught.value.status, isinstance(caught.value, InvalidInputError))
    assert f"mlport logs churn --request-id {caught.value.request_id}" in str(caught.value)
    server.script = [scripted.Reply(500, {"error": {"message": "it broke"}})]
    with pytest.raises(ModelError, match=r"mlport logs churn -t box --request-id \w") as caught:
        make(replace(FACTS, target="box")).predict([[1]])


def test_platform_that_refuses(server: Any, scripted: Any, make: Callable[..., Caller]) -> None:
    """What is not the model's fault becomes the platform's error."""
    server.script = [scripted.Reply(401, {}, {"x-platform": "1"})]
    with pytest.raises(AuthError) as caught:
        make().predict([[1]])
    assert ("predict", "churn") == (caught.value.operation, caught.value.resource)


def test_answer_without_predictions(server: Any, scripted: Any, make: Callable[..., Caller]) -> None:
    """An answer in another form is a ModelError that shows its beginning."""
    server.script = [scripted.Reply(200, {"outputs": []})]
    with pytest.raises(ModelError, match="no JSON object with `predictions`") as caught:
        make().predict([[1]])
    assert '{"outputs": []}' == caught.value.body


def test_one_deployment_can_be_asked(server: Any, make: Callable[..., Caller]) -> None:
    """A pinned predict carries the platform's header for it."""
    make().predict([[1]], deployment="d9")
    assert "d9" == server.asked[0].headers["x-mlport-deployment"]


def test_pinning_where_it_does_not_exist_is_unsupported(server: Any, make: Callable[..., Caller]) -> None:
    """The refusal comes before any call."""
    with pytest.raises(UnsupportedError) as caught:
        make(EndpointFacts("churn", "fake")).predict([[1]], deployment="d9")
    assert ("pin", []) == (caught.value.capability, server.asked)


def test_envelope_of_a_platform(server: Any, scripted: Any, make: Callable[..., Caller]) -> None:
    """Bodies are wrapped on the way out and unwrapped on the way in."""
    server.script = [scripted.Reply(200, {"wrapped": 1})]
    caller = make(wrap=lambda body: b'{"in":' + body + b"}", unwrap=lambda body: b'{"predictions":[7]}')
    assert [7] == caller.predict([[1]]).values
    assert {"in": {"instances": [[1]]}} == server.asked[0].json


def test_apredict_is_the_same_call(server: Any, scripted: Any, make: Callable[..., Caller]) -> None:
    """The asynchronous form pools, cuts, pins and forgives a stale connection like the blocking one."""
    caller = make()
    rows = [[place] for place in range(400)]

    async def main() -> Any:
        await caller.apredict([[0]])
        server.script = [scripted.Reply(cut=True)]
        answer = await caller.apredict(rows)
        await caller.aclose()
        return answer

    assert rows == asyncio.run(main()).values
    assert 2 == server.connections


def test_blocking_predict_inside_a_running_loop(make: Callable[..., Caller]) -> None:
    """As in a notebook."""

    async def cell() -> Any:
        return make().predict([[1]]).values

    assert [[1]] == asyncio.run(cell())


def test_request_can_be_sent_by_another_client(server: Any, make: Callable[..., Caller]) -> None:
    """The request carries the credentials and the body."""
    request = make(auth=httpx.BasicAuth("me", "pw")).request([[1, 2]])
    with httpx.Client() as other:
        assert {"predictions": [[1, 2]]} == other.send(request).json()
    assert server.asked[0].headers["authorization"].startswith("Basic ")


def test_curl_line_says_the_same(server: Any, make: Callable[..., Caller]) -> None:
    """A shell that runs it sends the same method, headers and body."""
    line = make(headers={"x-say": 'it\'s \\ "so"'}, auth=httpx.BasicAuth("me", "pw")).curl([["a'b"]])
    said = subprocess.run(["sh", "-c", line], capture_output=True, check=True, text=True).stdout
    assert {"predictions": [["a'b"]]} == json.loads(said)
    headers = server.asked[0].headers
    assert ('it\'s \\ "so"', "Basic bWU6cHc=") == (headers["x-say"], headers["authorization"])


def test_curl_line_puts_no_credentials_into_arguments(make: Callable[..., Caller]) -> None:
    """Every user of a machine sees the arguments of all processes; settings come on standard input."""
    line = make(headers={"x-api-key": "canary"}, auth=httpx.BasicAuth("me", "pw")).curl([[1]])
    arguments = shlex.split(line.partition(" <<")[0])
    assert ["curl", "-sS", "-X", "POST", "--data-binary", '{"instances":[[1]]}', "--config", "-"] == arguments
    assert "canary" in line.partition(" <<")[2]


def test_proxy_of_the_environment_is_not_for_this_machine(
    monkeypatch: pytest.MonkeyPatch, make: Callable[..., Caller]
) -> None:
    """A loopback endpoint is called directly."""
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    assert [[1]] == make().predict([[1]]).values
