"""Contract tests of the churn model: `pytest` runs them on every target of mlport.toml."""

from __future__ import annotations

import churn
import sdk_contract
from sdk_contract import Case, Refused


class TestChurn(sdk_contract.ModelContract):
    """The churn model answers alike everywhere, refuses invalid rows, and is updated without losing a request."""

    model = churn.train()
    about = {"name": "churn", "example": churn.MONTHS_AND_CALLS}  # noqa: RUF012
    cases = [Case([[2.0, 8.0], [40.0, 1.0]], expected=[1, 0]), churn.MONTHS_AND_CALLS]  # noqa: RUF012
    refused = [Refused([["two", 8.0]], "instances[0][0]"), Refused([[1.0]])]  # noqa: RUF012
