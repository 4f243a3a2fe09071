"""A contract for a model: what has to hold on every platform before it goes into production.

    class TestChurn(sdk_contract.ModelContract):
        model = "model.joblib"
        cases = [[[0.1, 2.0]], Case([[1.0, 2.0]], expected=[1])]

Each test runs on each target of ``mlport.toml``, see :mod:`sdk_contract.model_fixtures`.
"""

from __future__ import annotations

import inspect
import json
import math
import threading
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Self, cast

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from sdk.client import Client
    from sdk.client.endpoint import Endpoint
    from sdk.packaging.model import Model

    from .model_fixtures import MlportTarget

_WAYS = 3  # threads that call while an endpoint is changed
_CALLS = 50  # for the objective
_SHOWN = 5  # differences that a failure names
_BODY = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Case:
    """Input that the model must answer, and the expected answer.

    Args:
        rows: Input as for :meth:`sdk.Client.predict`.
        expected: The answer, one value for each row; ``None`` to compare only with the model itself.
    """

    rows: Any
    expected: Any = None


@dataclass(frozen=True, slots=True)
class Refused:
    """Input that must be refused.

    Args:
        rows: Input as for :meth:`sdk.Client.predict`.
        field: A part of the field name that the error must contain, such as a column.
    """

    rows: Any
    field: str = ""


@dataclass(slots=True)
class Deployed:
    """The model of a contract on one target."""

    model: Model
    target: MlportTarget
    name: str

    @property
    def client(self) -> Client:
        """The client of the target."""
        return self.target.client

    @property
    def where(self) -> str:
        """The beginning of a failure message."""
        return f"target {self.target.name}"

    @property
    def endpoint(self) -> Endpoint:
        """The endpoint, deployed if it does not exist."""
        return self.client.deploy(self.model, name=self.name)

    def delete(self) -> None:
        """Delete the endpoint, if it exists."""
        from sdk.errors import NotFoundError

        with suppress(NotFoundError):
            self.client.delete(self.name)


class ModelContract:
    """Tests of one model on every target: subclass it, name the class ``Test…``, and set the attributes.

    Attributes:
        model: A model as for :meth:`sdk.Client.deploy`, or a path, ``module:object`` or archive for ``mlport deploy``.
            Write a function as ``staticmethod(function)``.
        about: More arguments of :func:`sdk.model`, such as ``{"example": [[1.0, 2.0]], "trust": "pickle"}``.
        cases: Inputs, plain or as a `Case`; the model's example by default.
        refused: Inputs that must be refused, as `Refused`; by default some are derived from the model's signature.
        objective_ms: 95 % of 50 calls must be answered within this many milliseconds, as the client measures them.
        relative: How far numbers may be from the model's own, as libraries differ in their last bits.
    """

    model: Any = None
    about: ClassVar[Mapping[str, Any]] = {}
    cases: ClassVar[Sequence[Any]] = ()
    refused: ClassVar[Sequence[Refused]] = ()
    objective_ms: ClassVar[float | None] = None
    relative: ClassVar[float] = 1e-6

    def test_it_answers_as_in_process(self, mlport_deployed: Deployed) -> None:
        """Every case is answered as the model answers it in this process, and as expected."""
        model, endpoint, wrong = mlport_deployed.model, mlport_deployed.endpoint, list[str]()
        for number, case in enumerate(self._cases(model)):
            own = in_process(model, case.rows) if model.path is not None else None  # raises the model's own exception
            answer = endpoint.predict(case.rows).values
            where = f"{mlport_deployed.where}, case {number}"
            if model.path is not None:
                wrong += differences(answer, own, f"{where}, in process", self.relative)
            if case.expected is not None:
                wrong += differences(answer, case.expected, f"{where}, expected", self.relative)
        assert not wrong, "\n".join(wrong[:_SHOWN])

    def test_it_refuses_bad_rows(self, mlport_deployed: Deployed) -> None:
        """Bad input is refused, and the error names the field."""
        from sdk.errors import InvalidInputError

        inputs = self.refused or bad_rows(mlport_deployed.model)
        if not inputs:
            pytest.skip("the model takes any JSON; set `refused` to say what it must refuse")
        endpoint = mlport_deployed.endpoint
        for bad in inputs:
            try:
                answer = endpoint.predict(bad.rows).values
            except InvalidInputError as error:
                found = f"{error.field}: {error}"
                assert bad.field in found, f"{mlport_deployed.where}: {bad.rows!r} was refused by {found}"
            else:
                pytest.fail(f"{mlport_deployed.where}: {bad.rows!r} was answered with {answer!r}")

    def test_an_update_and_a_rollback_lose_no_request(self, mlport_deployed: Deployed) -> None:
        """While a second deployment takes over and the first one comes back, every request is answered."""
        client, name, where = mlport_deployed.client, mlport_deployed.name, mlport_deployed.where
        endpoint, rows = mlport_deployed.endpoint, self._cases(mlport_deployed.model)[0].rows
        first = serving(endpoint)
        with Calls(lambda: endpoint.predict(rows)) as calls:
            client.deploy(mlport_deployed.model, name=name, env={"CONTRACT_DEPLOYMENT": "second"})
            second = serving(endpoint)
            calls.more()
            client.rollback(name)
            calls.more()
        assert not calls.errors, f"{where}: {len(calls.errors)} of {calls.made} calls failed: {calls.errors[0]}"
        assert first != second, f"{where}: the update changed nothing"
        assert first == serving(endpoint), f"{where}: the rollback did not bring {first} back"

    def test_it_is_within_its_objective(self, mlport_deployed: Deployed) -> None:
        """95 % of the calls are answered in time."""
        if self.objective_ms is None:
            pytest.skip("no `objective_ms`")
        endpoint, rows = mlport_deployed.endpoint, self._cases(mlport_deployed.model)[0].rows
        endpoint.predict(rows)  # the first call opens the connection
        times = sorted(endpoint.predict(rows).latency_ms for _ in range(_CALLS))
        found = times[math.ceil(0.95 * _CALLS) - 1]
        assert found <= self.objective_ms, f"{mlport_deployed.where}: p95 is {found:.1f} ms"

    def test_it_leaves_nothing(self, mlport_deployed: Deployed) -> None:
        """After `delete` the endpoint is gone, and `gc` finds nothing."""
        from sdk.errors import NotFoundError

        client, endpoint = mlport_deployed.client, mlport_deployed.endpoint
        client.delete(endpoint.name)
        with pytest.raises(NotFoundError):
            endpoint.refresh()
        assert not client.gc().orphans, mlport_deployed.where

    def _cases(self, model: Model) -> list[Case]:
        given = list(self.cases) or ([model.example] if model.example else [])
        assert given, "set `cases`: the model was packed without an example"
        return [case if isinstance(case, Case) else Case(case) for case in given]


def packed(contract: type[ModelContract]) -> Model:
    """Pack the model that a contract names.

    Raises:
        ConfigError: It names no model.
    """
    from pathlib import Path

    from sdk.cli.models import resolve
    from sdk.client import Client
    from sdk.packaging.model import Model, model

    given: Any = inspect.getattr_static(contract, "model")
    given, about = given.__func__ if isinstance(given, staticmethod) else given, contract.about
    assert given is not None, "set `model`"
    if isinstance(given, Model):
        return given
    if isinstance(given, Path) or (isinstance(given, str) and not about.keys() - {"name", "trust"}):
        with Client() as client:
            return resolve(str(given), client.job, name=about.get("name"), trust=about.get("trust"))
    if isinstance(given, str):
        return Model.from_path(given, **about)
    return model(given, **about)


def in_process(model: Model, rows: Any) -> Any:
    """Answer rows with the bundle of a model in this process, by the server's code, as plain values.

    The model's libraries must be installed here.
    """
    from sdk.dataplane.payload import EncodingRules, bodies
    from sdk.serving import codecs
    from sdk.serving.bundle import read
    from sdk.serving.flavours import load
    from sdk.serving.settings import ServerLimits

    assert model.path is not None
    bundle = read(model.path)
    signature = bundle.manifest.signature
    (body,) = bodies(rows, EncodingRules(limit=_BODY, missing=True))
    given = codecs.decode(body.content_type.encode(), b"", body.content, signature, ServerLimits(max_body=_BODY))
    answer = codecs.encode_predictions(load(bundle)(given))
    return json.loads(answer.body)["predictions"]


def differences(answer: Any, wanted: Any, where: str, relative: float) -> list[str]:
    """Return where an answer differs from the wanted one, by row and name."""
    plain = wanted.tolist() if hasattr(wanted, "tolist") else wanted
    return [f"{where}{path}: answered {got!r} for {want!r}" for path, got, want in _apart(answer, plain, "", relative)]


def _apart(got: Any, want: Any, path: str, relative: float) -> list[tuple[str, Any, Any]]:
    pairs = _pairs(got, want, path)
    if pairs is None:
        return [] if _same(got, want, relative) else [(path, got, want)]
    return [one for a, b, where in pairs for one in _apart(a, b, where, relative)]


def _pairs(got: Any, want: Any, path: str) -> list[tuple[Any, Any, str]] | None:
    """Return the items of two containers in pairs, with their paths; `None` for plain values or different forms."""
    if isinstance(got, dict) and isinstance(want, dict):
        one, two = cast("dict[str, Any]", got), cast("dict[str, Any]", want)
        return [(one[key], two[key], f"{path}, {key!r}") for key in one] if one.keys() == two.keys() else None
    if not (isinstance(got, list) and isinstance(want, list | tuple)):
        return None
    values, others = list(cast("Sequence[Any]", got)), list(cast("Sequence[Any]", want))
    lead = f"{path}, item" if path else ", row"
    both = zip(values, others, range(len(others)), strict=False)
    return [(a, b, f"{lead} {number}") for a, b, number in both] if len(values) == len(others) else None


def _same(got: Any, want: Any, relative: float) -> bool:
    numbers = all(isinstance(one, int | float) and not isinstance(one, bool) for one in (got, want))
    if numbers:
        return math.isclose(got, want, rel_tol=relative, abs_tol=1e-9) or (math.isnan(got) and math.isnan(want))
    return bool(got == want)


def bad_rows(model: Model) -> list[Refused]:
    """Make inputs that the signature of a model forbids."""
    example, signature = model.example, model.signature
    if not example or signature is None or not signature.inputs:
        return []
    if isinstance(example[0], dict):
        row = cast("dict[str, Any]", example[0])
        first = next(iter(row))
        missing = {name: value for name, value in row.items() if name != first}
        return [Refused([missing], first), Refused([{**row, "unknown_column": 1}], "unknown_column")]
    if isinstance(example[0], list) and example[0] and isinstance(example[0][0], int | float):
        values = list(cast("Sequence[Any]", example[0]))
        return [Refused([[*values, 1.0]]), Refused([["text", *values[1:]]])]
    return []


def serving(endpoint: Endpoint) -> str:
    """Return the id of the deployment with the most traffic."""
    shares = {one.id: one.traffic for one in endpoint.refresh().deployments}
    return max(shares, key=lambda name: shares[name])


class Calls:
    """Continuous calls from some threads, for the length of a ``with`` block."""

    def __init__(self, call: Callable[[], object]) -> None:
        self.made = 0
        self.errors: list[str] = []
        self._call = call
        self._stop = threading.Event()
        self._moved = threading.Condition()
        self._threads = [threading.Thread(target=self._run) for _ in range(_WAYS)]

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self._call()
            except Exception as error:  # noqa: BLE001  # every failure counts
                self.errors.append(f"{type(error).__name__}: {error}")
            with self._moved:
                self.made += 1
                self._moved.notify_all()

    def more(self) -> None:
        """Wait for some more calls."""
        with self._moved:
            goal = self.made + 2 * _WAYS
            self._moved.wait_for(lambda: self.made >= goal, timeout=60)

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        self.more()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()
