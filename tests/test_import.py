"""`import sdk` is light."""

import subprocess
import sys

CLOUDS = ("boto3", "botocore", "google", "azure")
HEAVY = (*CLOUDS, "numpy", "pandas", "sklearn", "click", "rich", "cloudpickle", "uvicorn")


def test_import_loads_nothing_heavy() -> None:
    """A bare `import sdk` loads no cloud SDK, no numpy and no command line library."""
    code = (  # an installed namespace package may stand in sys.modules from the start: what is new counts
        "import sys; before = set(sys.modules); import sdk; "
        f"print(sorted(name for name in set(sys.modules) - before if name.partition('.')[0] in {HEAVY!r}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_help_loads_no_adapter() -> None:
    """`mlport --help` imports no adapter and no numpy."""
    code = (
        "import sys; from sdk.cli import main; main(['--help']); "
        "print([name for name in ('numpy', 'sdk_local', 'httpx') if name in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "[]"
