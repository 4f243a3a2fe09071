"""The load generator: a process of its own that sends requests on a fixed schedule and records when each was answered.

``messages`` is what the two processes say to each other, ``arrivals`` when requests are due, ``engine`` keeps to that,
``wire`` sends one, ``judge`` tells whether the generator itself spoiled a window.
"""

from .arrivals import Arrivals, offsets
from .generator import Generator
from .judge import Limits, spoiled
from .messages import Aim, Plan, Shot, Volley

__all__ = ["Aim", "Arrivals", "Generator", "Limits", "Plan", "Shot", "Volley", "offsets", "spoiled"]
