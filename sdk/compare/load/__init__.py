"""The load generator: a process of its own that sends requests on a fixed schedule and records when each was answered.

``messages`` is what the two processes say to each other, ``arrivals`` when requests are due, ``engine`` keeps to that,
``wire`` sends one.
"""

from .arrivals import Arrivals, offsets
from .generator import Generator
from .messages import Aim, Plan, Shot, Volley
from .trial import Trial

__all__ = ["Aim", "Arrivals", "Generator", "Plan", "Shot", "Trial", "Volley", "offsets"]
