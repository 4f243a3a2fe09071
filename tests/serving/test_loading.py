"""What loading a model imports."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest
from sklearn.ensemble import RandomForestClassifier

import sdk

if TYPE_CHECKING:
    from pathlib import Path

X = np.random.default_rng(1).random((60, 3))
Y = (X.sum(axis=1) > 1.5).astype(int)

SKOPS = """
import sys
from pathlib import Path
from sdk.serving import bundle, flavours
flavours.load(bundle.read(Path(sys.argv[1])))
print("sklearn.neural_network" in sys.modules)
from sklearn.svm import SVC
from skops import io
print(io.get_untrusted_types(data=io.dumps(SVC())))
"""


@pytest.mark.parametrize("exact", [True, False])
def test_a_packed_estimator_is_loaded_without_all_of_scikit_learn(tmp_path: Path, exact: bool) -> None:
    """With its types named in the bundle only those are imported; a user's own skops trusts what it always does."""
    packed = sdk.model(RandomForestClassifier(n_estimators=2).fit(X, Y), name="forest", example=X[:2])
    assert packed.path is not None
    folder = tmp_path / "bundle"
    shutil.copytree(packed.path, folder)
    manifest = json.loads((folder / "mlport.json").read_text())
    assert manifest["options"].pop("exact")
    if not exact:
        (folder / "mlport.json").write_text(json.dumps(manifest))
    done = subprocess.run([sys.executable, "-c", SKOPS, str(folder)], capture_output=True, text=True, check=True)
    assert [str(not exact), "[]"] == done.stdout.splitlines()
