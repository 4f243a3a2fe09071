"""The result for continuous integration: a comment for a pull request, and a JUnit test report."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

from ..baseline import since
from ..gate import judge
from .text import markdown, markdown_row, safe

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..gate import Judged
    from ..results import Results

_NOT_XML = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def comment(found: Results, fail_if: str | None = None, baseline: Results | None = None) -> str:
    """Return the report as Markdown: the result of the condition and the differences first, then everything else.

    Args:
        found: The comparison.
        fail_if: The condition, if there is one.
        baseline: The older comparison, if there is one.
    """
    if fail_if is None and baseline is None:
        return markdown(found)
    first: list[str] = []
    if fail_if is not None:
        first += _gate(judge(found, fail_if, baseline), fail_if)
    if baseline is not None:
        rows = [markdown_row(one) for one in since(found, baseline)]
        since_when = f"**Differences to the baseline of {safe(baseline.created)}**"
        first += [since_when, "", markdown_row(["subject", "difference"]), markdown_row(["---"] * 2), *rows, ""]
    return markdown(found, first)


def _gate(judged: list[Judged], fail_if: str) -> list[str]:
    failed = [one for one in judged if not one.passed]
    word, count = ("failed", len(failed)) if failed else ("passed", len(judged))
    rows = [markdown_row([one.key, _result(one), one.failed or one.values]) for one in judged]
    head = [markdown_row(["subject", "result", "values"]), markdown_row(["---"] * 3)]
    return [f"**Gate {word} for {count} of {len(judged)}:** fail if {safe(fail_if)}", "", *head, *rows, ""]


def _result(one: Judged) -> str:
    return "passed" if one.passed else "no figures" if one.failed else "failed"


def junit(found: Results, fail_if: str | None = None, baseline: Results | None = None) -> str:
    """Return a JUnit report: one test case per row. It fails if the condition holds, and is an error without figures.

    Args:
        found: The comparison.
        fail_if: The condition, if there is one.
        baseline: The older comparison, if there is one.
    """
    judged = judge(found, fail_if, baseline)
    counts = {
        "tests": len(judged),
        "failures": sum(one.holds and not one.failed for one in judged),
        "errors": sum(bool(one.failed) for one in judged),
    }
    facts = {name: str(count) for name, count in counts.items()}
    root = ET.Element("testsuites", facts)
    suite = ET.SubElement(root, "testsuite", {"name": "mlport compare", "timestamp": found.created, **facts})
    changed = since(found, baseline) if baseline is not None else []
    for one in judged:
        _case(suite, one, fail_if, [text for key, text in changed if key == one.key])
    said = ET.SubElement(suite, "system-out")
    said.text = _xml("\n".join(filter(None, (found.warning, found.verdict))))
    ET.indent(root)
    return ET.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _case(suite: ET.Element, one: Judged, fail_if: str | None, changed: list[str]) -> None:
    case = ET.SubElement(suite, "testcase", {"classname": "mlport.compare", "name": _xml(one.key)})
    for kind, message in _problems(one, fail_if):
        ET.SubElement(case, kind, {"message": _xml(message), "type": kind}).text = _xml(one.values)
    if changed:
        ET.SubElement(case, "system-out").text = _xml("\n".join(changed))


def _problems(one: Judged, fail_if: str | None) -> Iterator[tuple[str, str]]:
    if one.failed:
        yield "error", one.failed
    elif one.holds:
        yield "failure", f"{fail_if} holds: {one.values}"


def _xml(text: str) -> str:
    """Remove the characters that XML does not allow, such as those that colour a terminal."""
    return _NOT_XML.sub("", text)
