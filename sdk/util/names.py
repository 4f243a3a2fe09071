"""The rule for names of endpoints and jobs: names that every platform accepts, with room for mlport's suffixes."""

from __future__ import annotations

import re
import unicodedata

from ..errors import InvalidNameError

RULE = "3 to 23 characters: a lower-case letter first, then lower-case letters, digits and single inner hyphens"
_NAME = re.compile(r"[a-z]([a-z0-9]|-(?=[a-z0-9])){2,22}")
_LONGEST = 23


def check_name(name: str, *, what: str = "endpoint") -> str:
    """Return the name if every platform accepts it; called before anything else happens.

    Args:
        name: The name to check.
        what: The kind of thing that it names, for the message.

    Raises:
        InvalidNameError: The name is not valid; the error has the rule and suggests a valid name.

    Example:
        >>> check_name("churn-2")
        'churn-2'
    """
    if _NAME.fullmatch(str(name)):
        return name
    raise InvalidNameError(f"{what} name {name!r} is not valid ({RULE})", hint=f"use {suggest_name(str(name))!r}")


def name_of(text: str, *, source: str, fix: str) -> str:
    """Return the valid name closest to that of a file or an object, for a model without a given name.

    Args:
        text: The name of the file or object.
        source: The origin of the name, for the message.
        fix: How to give a name instead, for the message.

    Raises:
        InvalidNameError: The text has no letter or digit that a name may contain.

    Example:
        >>> name_of("Churn_model-2", source="the file", fix="give name=")
        'churn-model-2'
    """
    if not re.search(r"[a-z0-9]", _plain(text)):
        raise InvalidNameError(f"no model name can be made from {source} {text!r}", hint=fix)
    return suggest_name(text)


def suggest_name(text: str) -> str:
    """Return the valid name closest to a text.

    Example:
        >>> suggest_name("Über_Model v2!")
        'uber-model-v2'
    """
    slug = re.sub(r"[^a-z0-9]+", "-", _plain(text)).strip("-")
    if not slug or not slug[0].isalpha():
        slug = f"model-{slug}".strip("-")
    slug = slug[:_LONGEST].rstrip("-")
    return slug if len(slug) >= 3 else f"{slug}-model"


def _plain(text: str) -> str:
    return unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
