"""Carries out changes without leaving resources behind or interrupting an endpoint that serves.

``plan`` only reads. ``apply`` makes exactly the mutating calls of the plan and journals each before it is sent. A
failure before the switch undoes everything; after the switch, the transaction is only completed. ``recover`` does the
same for transactions whose process died. ``gc`` first recovers open journals and then sweeps by labels, so it also
finds resources whose journal is lost.
"""

from .context import Event
from .executor import Applied, Executor
from .fields import journal_safe
from .gc import GcReport
from .plan import HourlyCost, Plan, Step
from .recover import Recovered
from .transaction import TRANSFER_S
from .txn import new_txn

__all__ = [
    "TRANSFER_S",
    "Applied",
    "Event",
    "Executor",
    "GcReport",
    "HourlyCost",
    "Plan",
    "Recovered",
    "Step",
    "journal_safe",
    "new_txn",
]  # fmt: skip
