"""A home of its own for each test, and fake adapters to find."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import pytest
from pydantic import BaseModel, Field

from sdk.adapter import Adapter, TargetOptions
from sdk.adapter.registry import InstalledAdapter, Registry
from sdk.config import Settings, load, trust_project_file

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path


class Network(BaseModel, extra="forbid"):
    """A table inside the options."""

    subnet: str = "default"


class CloudOptions(TargetOptions):
    """Options of a made-up cloud."""

    region: str
    role: str | None = None
    account_secret: str | None = None
    timeout: int = 60
    network: Network = Field(default_factory=Network)


def make_adapter(name: str, options: type[TargetOptions] = CloudOptions) -> type[Adapter]:
    """An adapter class that has every member the protocol names, and does nothing."""
    members: dict[str, Any] = {n: None for n in (*vars(Adapter), *Adapter.__annotations__) if not n.startswith("_")}
    return type(name, (), {**members, "provider": name, "Options": options})


class Home:
    """A project folder and a user's home, with the environment that points to them."""

    cloud: ClassVar[type[Adapter]] = make_adapter("cloud")

    def __init__(self, root: Path) -> None:
        self.project = root / "project"
        self.user = root / "home"
        self.user_file = self.user / ".config" / "mlport" / "config.toml"
        self.env = {"HOME": str(self.user), "USER": "ada"}
        self.registry = Registry(lambda: [InstalledAdapter("local", "sdk_local:LocalAdapter", "mlport", "1")])
        self.registry.register("cloud", self.cloud)
        self.project.mkdir()
        self.user_file.parent.mkdir(parents=True)

    def write(self, text: str, name: str = "mlport.toml") -> Path:
        """Writes the project file."""
        file = self.project / name
        file.write_text(text, encoding="utf-8")
        return file

    def trust(self) -> None:
        """Trusts the project file as it is now."""
        trust_project_file(env=self.env, directory=self.project)

    def load(self, env: Mapping[str, str] | None = None, **options: Any) -> Settings:
        """Loads the configuration as somebody in the project folder would."""
        given = {"directory": self.project, "registry": self.registry, **options}
        return load(env={**self.env, **(env or {})}, **given)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """An empty project and an empty home."""
    return Home(tmp_path)


@pytest.fixture
def adapter_class() -> Callable[..., type[Adapter]]:
    """Makes adapter classes."""
    return make_adapter
