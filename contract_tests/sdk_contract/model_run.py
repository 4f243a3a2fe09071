"""The contract of the model that ``mlport test`` was given."""

from __future__ import annotations

from .model_contract import ModelContract


class TestModel(ModelContract):
    """The contract; the command sets its attributes before pytest collects it."""
