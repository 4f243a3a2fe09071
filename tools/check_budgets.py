"""Check the size budgets: lines per function (without docstring) and file, import cycles, suppressed warnings.

Suppressed warnings are counted per 10,000 lines of shipped code, so that the tree may grow but not become laxer. Tests
are not counted, since they do wrong things on purpose.
The budgets are in `budgets.json`. They may be lowered (`--lower` writes what the tree needs today) but never raised:
each is compared with the lowest value that it ever had in the repository's history.
"""

from __future__ import annotations

import ast
import functools
import io
import json
import re
import subprocess
import sys
import tokenize
from pathlib import Path
from typing import TYPE_CHECKING

import grimp

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parent.parent
BUDGETS = Path(__file__).with_name("budgets.json")
SOURCES = ("sdk", "mlport", "adapters", "contract_tests", "tests", "tools", "benchmarks", "examples")
SHIPPED = ("sdk/", "mlport/", "adapters/", "contract_tests/sdk_contract/", "examples/")
MARKS = {
    "noqa_per_10k_lines": re.compile(r"#\s*noqa\b"),
    "type_ignores_per_10k_lines": re.compile(r"#\s*(?:type|pyright):\s*ignore\b"),
}
RETIRED = {"noqa", "type_ignores"}  # old absolute counts, from when the tree had one adapter

Findings = dict[str, list[tuple[int, str]]]


def python_files() -> list[Path]:
    return sorted(path for folder in SOURCES for path in (ROOT / folder).rglob("*.py"))


def sizes(path: Path, source: str) -> Iterator[tuple[str, int, str]]:
    where = path.relative_to(ROOT).as_posix()
    yield "file_lines", source.count("\n"), where
    for node in ast.walk(ast.parse(source, where)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno:
            yield "function_lines", code_lines(node, node.end_lineno), f"{where}:{node.lineno} {node.name}"


def code_lines(function: ast.FunctionDef | ast.AsyncFunctionDef, end: int) -> int:
    docstring = ast.get_docstring(function, clean=False)
    return end - function.lineno + 1 - (0 if docstring is None else docstring.count("\n") + 1)


def marks(path: Path, source: str) -> Iterator[tuple[str, int, str]]:
    where = path.relative_to(ROOT).as_posix()
    if not where.startswith(SHIPPED) or not any(pattern.search(source) for pattern in MARKS.values()):
        return
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            for name, pattern in MARKS.items():
                if pattern.search(token.string):
                    yield name, 1, f"{where}:{token.start[0]} {token.string}"


def packages() -> list[str]:
    roots = (ROOT, ROOT / "adapters", ROOT / "contract_tests")
    return sorted(init.parent.name for root in roots for init in root.glob("sdk*/__init__.py"))


def cycles() -> Iterator[tuple[str, int, str]]:
    sys.path[:0] = [str(ROOT), str(ROOT / "adapters"), str(ROOT / "contract_tests")]
    graph = grimp.build_graph(*packages(), exclude_type_checking_imports=True, cache_dir=None)
    for module in sorted(graph.modules):
        for imported in sorted(graph.find_modules_directly_imported_by(module)):
            back = graph.find_shortest_chain(importer=imported, imported=module)
            if back:
                yield "import_cycles", 1, " -> ".join((module, *back))


@functools.cache
def shipped_lines() -> int:
    shipped = (path for path in python_files() if path.relative_to(ROOT).as_posix().startswith(SHIPPED))
    return sum(path.read_text(encoding="utf-8").count("\n") for path in shipped)


def density(marks: int) -> int:
    """Return the marks per 10,000 shipped lines, rounded up."""
    return -(-marks * 10_000 // shipped_lines())


def measure() -> Findings:
    found: Findings = {"file_lines": [], "function_lines": [], "import_cycles": [], **{name: [] for name in MARKS}}
    for path in python_files():
        source = path.read_text(encoding="utf-8")
        for name, value, where in (*sizes(path, source), *marks(path, source)):
            found[name].append((value, where))
    for name, value, where in cycles():
        found[name].append((value, where))
    return found


def git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout if done.returncode == 0 else ""


def lowest_ever() -> dict[str, int]:
    lowest: dict[str, int] = {}
    name = BUDGETS.relative_to(ROOT).as_posix()
    for commit in git("log", "--format=%H", "--", name).split():
        past = git("show", f"{commit}:{name}")
        for key, value in (json.loads(past) if past else {}).items():
            if key in RETIRED:
                continue
            lowest[key] = min(value, lowest.get(key, value))
    return lowest


def complaints(found: Findings, budgets: dict[str, int]) -> Iterator[str]:
    for name, lowest in lowest_ever().items():
        if budgets.get(name, lowest + 1) > lowest:
            yield f"budget {name} was raised above {lowest}: lower it again"
    for name, limit in budgets.items():
        items = found[name]
        if name in MARKS or name == "import_cycles":
            count = density(len(items)) if name in MARKS else len(items)
            if count > limit:
                yield f"{name}: {count} found, budget {limit}"
                yield from (f"  {where}" for _, where in items)
        else:
            yield from (f"{name}: {where} has {value}, budget {limit}" for value, where in items if value > limit)


def lower(found: Findings, budgets: dict[str, int]) -> None:
    lowered = {
        name: min(value, density(len(found[name]))) if name in MARKS else value for name, value in budgets.items()
    }
    BUDGETS.write_text(json.dumps(lowered, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    print(f"budgets: {lowered}")


def main(arguments: list[str]) -> int:
    budgets: dict[str, int] = json.loads(BUDGETS.read_text(encoding="utf-8"))
    found = measure()
    if arguments == ["--lower"]:
        lower(found, budgets)
        return 0
    problems = list(complaints(found, budgets))
    print("\n".join(problems) or f"budgets kept: {budgets}")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
