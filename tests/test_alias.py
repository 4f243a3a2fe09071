"""``import mlport`` is ``import sdk``, at every depth."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import version

import sdk

SCRIPT = """
import mlport, sdk
assert mlport is sdk
import mlport.errors
from mlport.executor.plan import Plan
import sdk.executor.plan
assert sdk.errors.SdkError is mlport.errors.SdkError
assert Plan is sdk.executor.plan.Plan is sdk.Plan
assert ("sdk.executor.plan", "sdk.executor.plan") == (sdk.executor.plan.__name__, sdk.executor.plan.__spec__.name)
assert not [name for name in sys.modules if name.startswith("mlport.") and sys.modules[name].__name__ == name]
for name in ("mlport.nothing", "mlport.errors.nothing"):
    try:
        __import__(name)
    except ModuleNotFoundError as error:
        assert name in str(error), error
    else:
        raise AssertionError(name)
"""


def test_each_module_exists_once() -> None:
    """Classes are the same under both names, modules keep their own, and what does not exist is said by name."""
    subprocess.run([sys.executable, "-W", "error", "-c", f"import sys\n{SCRIPT}"], check=True)


BESIDE = """
import importlib.abc, threading, time

class Slow(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name == "sdk" and not begun.is_set():
            begun.set()
            time.sleep(0.3)  # the other thread looks for its submodule meanwhile

def beside():
    begun.wait()
    from mlport.errors import SdkError
    found.append(SdkError)

begun, found = threading.Event(), []
sys.meta_path.insert(0, Slow())
thread = threading.Thread(target=beside)
thread.start()
import mlport
thread.join()
import sdk.errors
assert found == [sdk.errors.SdkError], found
"""


def test_a_thread_may_import_a_submodule_meanwhile() -> None:
    """While one thread imports ``mlport``, another finds its submodules."""
    subprocess.run([sys.executable, "-W", "error", "-c", f"import sys\n{BESIDE}"], check=True, timeout=60)


def test_the_command_runs_under_the_name() -> None:
    """``python -m mlport`` is ``mlport``."""
    done = subprocess.run([sys.executable, "-m", "mlport", "--version"], capture_output=True, text=True, check=True)
    assert f"mlport {version('mlport')}\n" == done.stdout


def test_the_version_is_that_of_the_distribution() -> None:
    """``sdk.__version__`` is written once, in pyproject.toml."""
    assert version("mlport") == sdk.__version__
