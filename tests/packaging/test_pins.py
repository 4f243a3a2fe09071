"""The grammar of a lock, with any text: what is read is pins and nothing else."""

from __future__ import annotations

import re

from hypothesis import given, settings
from hypothesis import strategies as st
from packaging.markers import Marker
from packaging.requirements import Requirement
from packaging.version import Version

from sdk.serving.pins import Pin, is_marker, parse, render

TRIES = settings(max_examples=100, deadline=None)

NAMES = st.sampled_from(["numpy", "A", "Scikit_Learn", "zope.interface", "x-1", "n" * 128])
NUMBERS = st.integers(0, 2**40).map(str)
VERSIONS = st.tuples(
    st.sampled_from(["", "1!"]),
    st.lists(NUMBERS, min_size=1, max_size=4).map(".".join),
    st.sampled_from(["", "a1", "b2", "rc3"]),
    st.sampled_from(["", ".post1"]),
    st.sampled_from(["", ".dev4"]),
    st.sampled_from(["", "+cpu", "+cu126.local1"]),
).map("".join)
HASHES = st.lists(st.integers(0, 2**256 - 1).map("{:064x}".format), min_size=1, max_size=3).map(tuple)
COMPARISONS = st.sampled_from(
    [
        "python_full_version < '3.12'",
        'sys_platform == "win32"',
        "'linux' in sys_platform",
        "platform_machine not in 'x86_64 arm64'",
        "python_version === '3.11'",
    ]
)
MARKERS = st.recursive(
    COMPARISONS,
    lambda inner: st.tuples(inner, st.sampled_from(["and", "or"]), inner).map(lambda parts: f"({' '.join(parts)})"),
    max_leaves=6,
)
PINS = st.builds(Pin, NAMES, VERSIONS, HASHES, st.none() | MARKERS)


def distinct(pins: list[Pin]) -> list[Pin]:
    """One pin for each name."""
    return list({re.sub(r"[-_.]+", "-", pin.name).lower(): pin for pin in pins}.values())


LOCKS = st.lists(PINS, max_size=4).map(distinct)


def read(text: str) -> tuple[Pin, ...] | None:
    """The pins of a text, ``None`` where it is refused."""
    try:
        return parse(text)
    except ValueError:
        return None


def check(pins: tuple[Pin, ...]) -> None:
    """What an installer gets holds requirements that the reference implementation reads, and hashes."""
    for line in render(pins).splitlines():
        requirement, *hashes = line.split(" --hash=sha256:")
        known = Requirement(requirement)
        (clause,) = known.specifier
        assert ("==", None, set()) == (clause.operator, known.url, known.extras)
        assert str(Version(clause.version))
        assert hashes
        assert [] == [value for value in hashes if not re.fullmatch("[0-9a-f]{64}", value)]


@TRIES
@given(pins=LOCKS)
def test_what_is_written_is_read_back(pins: list[Pin]) -> None:
    """Also in the form of earlier versions, with a continuation before each hash."""
    text = render(pins)
    assert tuple(pins) == parse(text) == parse(text.replace(" --hash", " \\\n    --hash"))
    check(tuple(pins))


@TRIES
@given(
    pins=LOCKS.filter(bool),
    place=st.integers(min_value=0),
    inserted=st.text(min_size=1, max_size=20)
    | st.sampled_from(
        [
            "\n--no-binary x\n",
            " --no-binary x",
            " \\\n",
            "\n-r x\n",
            "#",
            " @ http://x",
            "[x]",
            "${X}",
            "\r",
            "\x0b",
            " ;",
        ]
    ),
    cut=st.integers(0, 3),
)
def test_a_changed_lock_is_refused_or_still_data(pins: list[Pin], place: int, inserted: str, cut: int) -> None:
    """Whatever is put in anywhere, an installer never gets an option, an address or a path."""
    text = render(pins)
    at = place % (len(text) + 1)
    found = read(text[:at] + inserted + text[at + cut :])
    if found is not None:
        check(found)
        assert found == parse(render(found))


@TRIES
@given(text=st.text(max_size=200))
def test_any_text_is_refused_or_data(text: str) -> None:
    """Most of it is refused."""
    found = read(text)
    if found is not None:
        check(found)


TOKENS = st.lists(
    st.sampled_from(
        [
            "and",
            "or",
            "(",
            ")",
            "in",
            "not in",
            "==",
            "<",
            "python_version",
            "os_name",
            "'3'",
            '"x y"',
            "extra",
            "--x",
            ";",
        ]
    ),
    max_size=9,
).map(" ".join)


@TRIES
@given(text=MARKERS | TOKENS)
def test_every_accepted_marker_is_one_of_the_reference(text: str) -> None:
    """Markers are PEP 508's; the reference implementation reads each that is accepted."""
    if is_marker(text):
        assert str(Marker(text))


@TRIES
@given(text=MARKERS)
def test_ordinary_markers_are_accepted(text: str) -> None:
    """Nested by parentheses as uv writes them."""
    assert is_marker(text)
