"""Carries out changes so that nothing is left behind and nothing that serves stops.

``plan`` only looks. ``apply`` makes exactly the mutating calls of the plan, each journalled before it is sent; a
failure before the switch undoes everything, after it goes only forward. ``recover`` does the same for transactions
whose process died, and ``gc`` finds what even a lost journal left, from labels alone.
"""

from .context import Event
from .executor import Applied, Executor
from .fields import journal_safe
from .gc import GcReport
from .plan import Cost, Plan, Step
from .recover import Recovered
from .transaction import TRANSFER_S
from .txn import new_txn

__all__ = [
    "TRANSFER_S", "Applied", "Cost", "Event", "Executor", "GcReport", "Plan", "Recovered", "Step", "journal_safe",
    "new_txn",
]  # fmt: skip
