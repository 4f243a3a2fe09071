"""What a hostile project file can and cannot do."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from sdk.config import trust_project_file
from sdk.errors import ConfigError, UntrustedConfigError
from sdk.trust import TrustStore

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

EVIL = """
import pathlib
pathlib.Path(__file__).with_suffix(".ran").touch()
class Adapter: ...
"""


def aws(text: str) -> str:
    return f'default = "aws"\n[target.aws]\nprovider = "cloud"\nregion = "m"\n{text}\n'


# None of these may be obeyed; each comes with a module `evil` beside it.
HOSTILE = {
    "import string": 'default = "x"\n[target.x]\nprovider = "evil:Adapter"',
    "import string with spaces": '[target.x]\nprovider = " evil:Adapter"',
    "dotted import string": '[target.x]\nprovider = "evil.sub:Adapter"',
    "module alone": '[target.x]\nprovider = "evil.Adapter"',
    "path": '[target.x]\nprovider = "./evil.py:Adapter"',
    "import string for local": '[target.local]\nprovider = "evil:Adapter"',
    "import string in capitals": '[target.x]\nprovider = "EVIL"',
    "list": '[target.x]\nprovider = "cloud"\nplugins = ["evil:Adapter"]',
    "endpoint": aws('endpoint_url = "https://evil.example"'),
    "endpoint without scheme": aws('endpoint = "evil.example"'),
    "api endpoint": aws('api_endpoint = "evil.example"'),
    "url": aws('url = "https://evil.example"'),
    "base url": aws('base_url = "http://evil.example"'),
    "tags in a table": aws('[target.aws.network]\ntags = { endpoint_url = "x" }'),
    "url in an innocent key": aws('role = "https://evil.example/role"'),
    "url with spaces": aws('role = "  HTTPS://evil.example"'),
    "url in a table": aws('network = { subnet = "http://evil.example" }'),
    "url in a list": aws('zones = ["a", "http://evil.example"]'),
    "socket": aws('role = "unix:/tmp/evil.sock"'),
    "proxy": aws('proxy = "evil.example:3128"'),
    "https proxy": aws('https_proxy = "evil.example:3128"'),
    "host": aws('host = "evil.example"'),
    "certificate": aws('ca_file = "evil.pem"'),
    "certificate bundle": aws('ca_bundle = "evil.pem"'),
    "verify": aws("verify = false"),
    "verify in a table": aws("tls = { verify = false }"),
    "registry": aws('registry = "evil.example/repo"'),
    "index": aws('index_url = "evil.example/simple"'),
    "hook": aws('pre_deploy_hook = "evil"'),
    "hooks table": aws('[target.aws.hooks]\nbefore = "evil:run"'),
    "command": aws('command = ["sh", "-c", "touch evil.ran"]'),
    "interpreter": aws('python = "./evil.py"'),
    "shell": aws('shell = "./evil.sh"'),
    "state": 'state_dir = "."',
    "state with its own trust": 'state_dir = "planted"\n[target.x]\nprovider = "evil:Adapter"',
}

HARMLESS = {
    "other target": 'default = "aws"\n[target.aws]\nprovider = "cloud"\nregion = "m"\nrole = "arn:aws:iam::1:role/x"',
    "tags": aws('tags = { url = "https://wiki.example/churn", host = "x" }'),
    "data": aws('role = "s3://bucket/key"'),
    "region": aws('[target.aws.network]\nsubnet = "a/b"'),
}


@pytest.fixture
def evil(home: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A module in the current directory that leaves a mark when it is imported."""
    module: Path = home.project / "evil.py"
    module.write_text(EVIL)
    monkeypatch.chdir(home.project)
    monkeypatch.syspath_prepend(str(home.project))
    yield module.with_suffix(".ran")
    sys.modules.pop("evil", None)


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_project_file_is_refused_and_nothing_is_imported(home: Any, evil: Path, case: str) -> None:
    """The error names the key and the way to trust the file; no module of the folder has run."""
    file = home.write(HOSTILE[case])
    TrustStore(home.project / "planted").trust(file, file.read_bytes())  # the attacker's own word for it
    with pytest.raises(UntrustedConfigError, match=r"which a project file may not do by itself; read the file"):
        home.load().target().adapter()
    assert (False, False) == (evil.exists(), "evil" in sys.modules)


@pytest.mark.parametrize("case", HARMLESS)
def test_an_ordinary_project_file_needs_no_trust(home: Any, case: str) -> None:
    """Choosing an installed provider and filling in its settings is what a project file is for."""
    home.write(HARMLESS[case])
    assert "m" == home.load().target("aws").options(home.cloud.Options).region


def test_a_trusted_file_may_set_everything(home: Any) -> None:
    """After `mlport config trust` the same file is obeyed."""
    file = home.write(aws('role = "https://auth.example"'))
    trusted = trust_project_file(env=home.env, directory=home.project)
    assert "https://auth.example" == home.load().target().options(home.cloud.Options).role
    assert (file, ("target.aws.role is an address",)) == (trusted.path, trusted.allowed)


def test_trust_ends_with_the_next_change_of_the_file(home: Any) -> None:
    """Trust is given to the bytes, so a `git pull` asks again."""
    home.write(aws('role = "https://auth.example"'))
    trust_project_file(env=home.env, directory=home.project)
    home.load()
    home.write(aws('role = "https://evil.example"'))
    with pytest.raises(UntrustedConfigError):
        home.load()


def test_trust_can_be_taken_back(home: Any) -> None:
    """A forgotten file is as strange as before."""
    file = home.write(aws("verify = true"))
    store = TrustStore(home.user / ".local" / "state" / "mlport")
    store.trust(file, file.read_bytes())
    store.forget(file)
    assert not store.trusts(file, file.read_bytes())


def test_trust_belongs_to_one_place(home: Any, tmp_path: Path) -> None:
    """The same text in another folder is another file."""
    file = home.write("a = 1")
    copy = tmp_path / "mlport.toml"
    copy.write_text("a = 1")
    store = TrustStore(tmp_path / "state")
    store.trust(file, b"a = 1")
    assert (True, False) == (store.trusts(file, b"a = 1"), store.trusts(copy, b"a = 1"))


@pytest.mark.parametrize("where", ["argument", "environment", "user"])
def test_arguments_environment_and_user_file_are_the_users_own_word(home: Any, where: str) -> None:
    """What the user writes needs no trust."""
    table = {"provider": "tests_nowhere:Adapter"}
    home.user_file.write_text('[target.x]\nprovider = "tests_nowhere:Adapter"\n' if where == "user" else "")
    env = {"MLPORT_TARGET_X__PROVIDER": "tests_nowhere:Adapter"} if where == "environment" else {}
    arguments = {"target": {"x": table}} if where == "argument" else {}
    assert "tests_nowhere:Adapter" == home.load(env, arguments=arguments).target("x").provider


def test_the_trust_file_is_private(tmp_path: Path) -> None:
    """Nobody else can read or write it, and its folder is closed."""
    store = TrustStore(tmp_path / "state")
    store.trust(tmp_path / "f", b"")
    modes = [path.stat().st_mode & 0o777 for path in (store.path, store.path.parent)]
    assert [0o600, 0o700] == modes


@pytest.mark.parametrize("content", [b"{", b"\xff", b"[]", b"null"])
def test_a_damaged_trust_file_trusts_nothing(tmp_path: Path, content: bytes) -> None:
    """It is an error or empty, never a yes."""
    (tmp_path / "f").write_text("")
    (tmp_path / "trust.json").write_bytes(content)
    trusted = False
    with contextlib.suppress(ConfigError):
        trusted = TrustStore(tmp_path).trusts(tmp_path / "f", b"")
    assert not trusted


def test_where_there_is_no_project_file_there_is_nothing_to_trust(home: Any) -> None:
    """The error says how to write one."""
    with pytest.raises(ConfigError, match=r"there is no project file in .*; run `mlport init`"):
        trust_project_file(env=home.env, directory=home.project)


def test_a_project_file_cannot_move_the_place_where_trust_is_kept(home: Any) -> None:
    """Trusting happens in the user's own state folder."""
    home.write('state_dir = "planted"\n')
    trust_project_file(env=home.env, directory=home.project)
    kept = TrustStore(home.user / ".local" / "state" / "mlport").path
    assert (True, home.project / "planted") == (kept.is_file(), home.load().state_dir.value)


def test_a_state_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    """Trust that is not kept is not given."""
    (tmp_path / "state").write_text("a file")
    with pytest.raises(ConfigError, match=r"cannot write .*trust\.json"):
        TrustStore(tmp_path / "state").trust(tmp_path / "f", b"")


PLANTED = """
import sys
from sdk.registry import adapters
print(sorted(adapters.names()), "evil" in sys.modules)
"""


def test_a_distribution_planted_in_the_current_directory_does_not_count(home: Any) -> None:
    """A cloned repository can contain the metadata of an `installed` adapter; it neither adds nor hides one."""
    (home.project / "evil.py").write_text(EVIL)
    for name in ("evil-1.0.dist-info", "mlport-99.dist-info"):
        folder = home.project / name
        folder.mkdir()
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name.partition('-')[0]}\nVersion: 1.0\n")
        (folder / "entry_points.txt").write_text("[mlport.adapters]\nevil = evil:Adapter\nlocal = evil:Adapter\n")
    command = [sys.executable, "-c", PLANTED]  # `-c` puts the current directory first on the path
    done = subprocess.run(command, cwd=home.project, capture_output=True, text=True, check=True)
    assert "'local'" in done.stdout
    assert ("evil" not in done.stdout.partition("]")[0], done.stdout.endswith("False\n")) == (True, True)
