"""The configuration: from arguments, environment and files to one frozen value that knows where each part came from."""

from __future__ import annotations

from .load import Trusted, load, trust_project_file
from .rules import Rule, parse_rule
from .settings import Settings, TargetSettings
from .values import Layer, Source, Sourced

__all__ = [
    "Layer",
    "Rule",
    "Settings",
    "Source",
    "Sourced",
    "TargetSettings",
    "Trusted",
    "load",
    "parse_rule",
    "trust_project_file",
]
