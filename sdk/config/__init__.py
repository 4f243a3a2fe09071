"""The configuration: arguments, environment and files, merged into one immutable value with the source of each part."""

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
