"""Whose modules are loaded, where many distributions share one package as those of Google and Azure do."""

import json
import os
import subprocess
import sys
from pathlib import Path

MODULES = 30
PROGRAM = """
import collections, importlib, json, sys
from sdk.packaging import libraries
names = [f"shared.{owner}.part{n}" for owner in ("one", "two") for n in range(int(sys.argv[1]))]
for name in names:
    importlib.import_module(name)
read = collections.Counter()
def note(event, args):
    if event == "open" and str(args[0]).endswith("RECORD"):
        read[str(args[0]).split("/")[-2]] += 1
sys.addaudithook(note)
local = [module.__name__ for module in libraries.local_modules() if module.__name__.startswith("shared")]
told = {"local": local, "one": libraries.installed(names[:1]), "both": libraries.installed(names)}
print(json.dumps({**told, "reads": max(read[f"shared_{owner}-1.0.dist-info"] for owner in ("one", "two"))}))
"""


def install(folder: Path, owner: str) -> None:
    """A distribution that owns ``shared.OWNER``, as an installer leaves it."""
    package = folder / "shared" / owner
    package.mkdir(parents=True)
    files = [package / "__init__.py", *(package / f"part{number}.py" for number in range(MODULES))]
    for file in files:
        file.touch()
    info = folder / f"shared_{owner}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: shared-{owner}\nVersion: 1.0\n")
    (info / "RECORD").write_text("".join(f"{file.relative_to(folder)},,\n" for file in files))


def test_a_shared_package_is_read_once_for_all_its_modules(tmp_path: Path) -> None:
    """Each module has its owner, and what a distribution holds is not read again for every module."""
    for owner in ("one", "two"):
        install(tmp_path, owner)
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(MODULES)],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    told = json.loads(run.stdout)
    assert [] == told["local"]
    assert {"shared-one": "1.0"} == told["one"]
    assert {"shared-one": "1.0", "shared-two": "1.0"} == told["both"]
    assert told["reads"] <= 2, "once for the names of all packages, once for its files"
