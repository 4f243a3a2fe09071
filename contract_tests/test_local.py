"""The contract of the `local` target: real processes of this machine."""

from pathlib import Path

import psutil

from sdk_contract import suites
from sdk_contract.rig import Rig, rig_fixture
from sdk_local import LocalAdapter


class LocalRig(Rig):
    """This machine; endpoints live in the state folder, so every client has the same one."""

    adapter, price = LocalAdapter, 0.0

    def state_dir(self, machine: str) -> Path:
        return self.folder / "state"

    def unpriced(self) -> dict[str, None]:
        return {"usd_per_hour": None}

    def left(self) -> list[str]:
        state = str(self.state_dir("here"))
        lines = [" ".join(process.info["cmdline"] or ()) for process in psutil.process_iter(["cmdline"])]
        return [
            *(f"process {line}" for line in sorted(lines) if state in line),
            *(f"endpoint {path.name}" for path in sorted((self.state_dir("here") / "endpoints").glob("*"))),
        ]


rig = rig_fixture(LocalRig)

globals().update(suites.tests())
