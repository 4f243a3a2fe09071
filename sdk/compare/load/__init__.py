"""The load generator: a separate process that sends requests on a fixed schedule and records when each is answered.

``messages`` defines the protocol between the two processes, ``arrivals`` computes when requests are due, ``engine``
follows that schedule, and ``http`` sends single requests.
"""

from .arrivals import Arrivals, offsets
from .generator import Generator
from .messages import Aim, Shot, Volley, WindowPlan
from .trial import Trial

__all__ = ["Aim", "Arrivals", "Generator", "Shot", "Trial", "Volley", "WindowPlan", "offsets"]
