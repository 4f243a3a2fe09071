"""The contract of the model that ``mlport test`` was given."""

from __future__ import annotations

from .model_contract import ModelContract


class TestModel(ModelContract):
    """Its attributes are set by the command before pytest collects it."""
