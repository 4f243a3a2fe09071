"""Failures: the right class, with everything needed to act on it, and nothing left behind."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from sdk.adapter import Capability, Ref
from sdk.errors import AuthError, DeployFailed, PlatformError, SdkError, ThrottledError, UnavailableError

from .samples import ANSWER, BROKEN, FAILURE

if TYPE_CHECKING:
    from collections.abc import Callable

    from .rig import Rig

CLASSES: dict[str, type[PlatformError]] = {
    "throttled": ThrottledError,
    "unavailable": UnavailableError,
    "denied": AuthError,
    "refused": UnavailableError,
}


class ErrorsSuite:
    """Vendor errors do not leave the adapter; a failed deployment reports the reason and cleans up."""

    def test_a_model_that_cannot_be_loaded(self, rig: Rig) -> None:
        """DeployFailed carries the reason and the container's last lines, and nothing is left."""
        before, name, client = rig.left(), rig.name("broken"), rig.client()
        with pytest.raises(DeployFailed) as failed:
            client.deploy(rig.broken(), name=name)
        assert rig.adapter.provider == failed.value.provider
        assert failed.value.reason
        if rig.can(Capability.LOGS):
            assert any(BROKEN in line for line in failed.value.logs), failed.value.logs
            assert f"RuntimeError: {BROKEN}" in failed.value.message
            assert f"RuntimeError: {BROKEN}" in str(failed.value.reason)
            assert re.search(r"samples\.py, line \d+, in explode\b", failed.value.message), failed.value.message
        assert [] == list(failed.value.leftovers)
        assert before == rig.left()
        assert [] == rig.orphans(client)

    def test_a_model_that_fails_its_smoke_test(self, rig: Rig) -> None:
        """DeployFailed names what the model raised and where; an endpoint that served before continues to serve."""
        name, client = rig.name("failing"), rig.client()
        endpoint = client.deploy(rig.model(1), name=name) if rig.can(Capability.DARK_PROBE) else None
        left = rig.left()
        with pytest.raises(DeployFailed) as failed:
            client.deploy(rig.failing(), name=name)
        error = failed.value
        assert (rig.adapter.provider, 500) == (error.provider, error.status)
        if rig.can(Capability.LOGS):
            assert error.request_id
            assert f"LookupError: {FAILURE}" == error.reason
            assert f"LookupError: {FAILURE}" in error.message, "a comparison shows the message alone"
            for function in ("predict", "look_up"):
                assert re.search(rf"samples\.py, line \d+, in {function}\b", error.message), error.message
            assert any(FAILURE in line for line in error.logs), error.logs
        assert [] == list(error.leftovers)
        assert left == rig.left()
        if endpoint is not None:
            assert [2.0] == list(endpoint.predict([[ANSWER, 1.0]]).values)
            endpoint.delete()

    def test_a_failed_update_changes_nothing(self, rig: Rig) -> None:
        """When the new model cannot be loaded, the old one continues as if nothing had happened."""
        name, client = rig.name("broken"), rig.client()
        endpoint = client.deploy(rig.model(1), name=name)
        before, left = client.status(name), rig.left()
        with pytest.raises(DeployFailed):
            client.deploy(rig.broken(), name=name)
        after = client.status(name)
        assert before.deployments == after.deployments
        assert (before.state, before.owner) == (after.state, after.owner)
        assert left == rig.left()
        assert [2.0] == list(endpoint.predict([[ANSWER, 1.0]]).values)
        client.delete(name)

    @pytest.mark.parametrize("failure", list(CLASSES))
    def test_what_the_platform_says(self, rig: Rig, failure: str) -> None:
        """Each kind of refusal has its class, shows whether a retry makes sense, and keeps the vendor's exception."""
        adapter = rig.make()
        try:
            with rig.provoke(failure), pytest.raises(PlatformError) as raised:
                adapter.read(Ref(next(iter(adapter.kinds)), "contract-nothing"), timeout=5)
        finally:
            adapter.close()
        error = raised.value
        assert CLASSES[failure] is type(error)
        assert (failure != "denied") == error.retryable
        assert rig.adapter.provider == error.provider
        assert error.operation
        if failure == "refused":
            assert isinstance(error, UnavailableError)
            assert not error.sent, "a refused connection proves that nothing was sent"
        if failure == "unavailable":
            assert isinstance(error, UnavailableError)
            assert error.sent, "after an answer of 5xx nothing is known"

    @pytest.mark.parametrize("failure", ["throttled", "unavailable", "denied"])
    def test_no_vendor_exception_crosses(self, rig: Rig, failure: str) -> None:
        """Whichever operation fails, the caller gets an SdkError."""
        adapter = rig.make()
        kind = next(iter(adapter.kinds))
        calls: dict[str, Callable[[], object]] = {
            "observe": lambda: list(adapter.observe("contract-nobody", timeout=5)),
            "list": lambda: list(adapter.list(timeout=5)),
            "read": lambda: adapter.read(Ref(kind, "contract-nothing"), timeout=5),
        }
        try:
            for operation, call in calls.items():
                with rig.provoke(failure), pytest.raises(SdkError) as raised:
                    call()
                assert (rig.adapter.provider, True) == (raised.value.provider, bool(raised.value.operation)), operation
        finally:
            adapter.close()

    def test_a_throttled_deploy_goes_on(self, rig: Rig) -> None:
        """A deploy on a platform that throttles it takes longer and succeeds."""
        name, client = rig.name("busy"), rig.client()
        with rig.provoke("throttled once"):
            client.deploy(rig.model(1), name=name)
        assert [100] == [item.traffic for item in client.status(name).deployments]
        client.delete(name)
