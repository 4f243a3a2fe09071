"""What a hostile project file can and cannot do."""

from __future__ import annotations

import contextlib
import hashlib
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from sdk.adapter.registry import adapters
from sdk.cli.template import TEMPLATE
from sdk.config import trust_project_file
from sdk.config.schema import KEYS
from sdk.config.trust import TARGET_KEYS, TOP_KEYS, TrustStore, refusal
from sdk.errors import ConfigError, UntrustedConfigError

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
    "owner": 'owner = "somebody-else"',
    "log": 'log = "debug"',
    "offline": "offline = true",
    "base image": aws('base = "evil.example/base:latest"'),
    "bucket": aws('bucket = "evil"'),
    "repository": aws('repository = "evil"'),
    "service account": aws('service_account = "evil@project.iam.gserviceaccount.com"'),
    "profile": aws('profile = "admin"'),
    "identity": aws('identity = "/subscriptions/x"'),
    "subnets": aws('subnets = ["subnet-1"]'),
    "port": aws("port = 80"),
    "routes": aws('predict_route = "/admin"'),
    "logs": aws("delete_logs = true"),
    "a setting that nobody knows": aws("brand_new = 1"),
    "a table": aws('[target.aws.network]\nsubnet = "a/b"'),
    "an address in a table that is allowed": aws('resources = { cpu = "http://evil.example" }'),
    "an address in a role": aws('role = ["https://evil.example"]'),
    "a dotted key": 'target.aws.base = "evil.example/base"',
    "pyproject's form": 'target = { aws = { base = "evil.example/base" } }',
    "state with its own trust": 'state_dir = "planted"\n[target.x]\nprovider = "evil:Adapter"',
}

HARMLESS = {
    "other target": 'default = "aws"\n[target.aws]\nprovider = "cloud"\nregion = "m"\nrole = "arn:aws:iam::1:role/x"',
    "tags": aws('tags = { url = "https://wiki.example/churn", host = "x" }'),
    "data": aws('role = "s3://bucket/key"'),
    "size": aws('instance = "x"\nreplicas = { min = 1, max = 3 }\nttl = "8h"'),
    "resources": aws("resources = { cpu = 2, memory_gib = 4 }"),
    "rules": 'monitor.alarms = ["p95_ms > 100 for 5m"]\nobjective.p95_ms = 100\n' + aws(""),
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
    with pytest.raises(UntrustedConfigError, match=r"is not trusted: .*read the file, then run `mlport config trust`"):
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
    assert hashlib.sha256(file.read_bytes()).hexdigest() == trusted.digest


def test_trust_ends_with_the_next_change_of_the_file(home: Any) -> None:
    """Trust is given to the bytes, so a `git pull` asks again."""
    home.write(aws('role = "https://auth.example"'))
    trust_project_file(env=home.env, directory=home.project)
    home.load()
    home.write(aws('role = "https://evil.example"'))
    with pytest.raises(UntrustedConfigError):
        home.load()


def test_ci_trusts_a_file_by_its_hash(home: Any) -> None:
    """No state is needed; several files can be named; a changed file is refused and the error says why."""
    file = home.write(aws('role = "https://auth.example"'))
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    assert "https://auth.example" == home.load({"MLPORT_TRUST": f"{'0' * 64},{digest}"}).target().values["role",].value
    with pytest.raises(UntrustedConfigError, match=f"in CI set MLPORT_TRUST={digest}"):
        home.load()
    home.write(aws('role = "https://evil.example"'))
    with pytest.raises(UntrustedConfigError, match="MLPORT_TRUST names another content of it"):
        home.load({"MLPORT_TRUST": digest})


@pytest.mark.parametrize("value", ["yes", "1", "*", "0" * 63, "mlport.toml", "0" * 64 + "\n\\x"])
def test_ci_cannot_trust_everything(home: Any, value: str) -> None:
    """The variable holds hashes and nothing that fits any file."""
    home.write("owner = 'x'\n")
    with pytest.raises(ConfigError, match="MLPORT_TRUST is not the SHA-256 of a project file"):
        home.load({"MLPORT_TRUST": value})


def test_a_misspelt_setting_is_told_what_was_meant(home: Any) -> None:
    """Most who write an unknown key into their own file misspelt one."""
    home.write('[target.aws]\nprovider = "cloud"\nregoin = "m"\n')
    with pytest.raises(UntrustedConfigError, match=r"did you mean 'region'\?"):
        home.load()


def test_every_refused_key_is_named(home: Any) -> None:
    """Not the first alone, and without what a terminal would obey."""
    home.write(aws('base = "x"\nport = 1\n"\\u001b[2J" = 1'))
    with pytest.raises(UntrustedConfigError) as caught:
        home.load()
    assert "target.aws.base is not among what it may set; target.aws.port is not among" in str(caught.value)
    assert str(caught.value).isprintable()


def test_what_init_writes_needs_no_trust(home: Any) -> None:
    """With every commented line taken in."""
    code = [
        line.removeprefix("# ") if " = " in line or line.startswith("# [") else line for line in TEMPLATE.splitlines()
    ]
    home.write("\n".join(code))
    assert {"laptop", "box", "aws", "gcp", "azure"} == set(home.load().targets)


# Settings that only a trusted project file may have, with the reason. A setting that is neither here nor in sdk.trust
# fails the test below: think about what somebody else's text could do with it before you add it to either.
GUARDED = {
    "core": {
        "owner": "others' resources would be deleted",
        "state_dir": "journal, locks and trust itself are kept there",
        "log": "how much of what goes on is written where",
        "offline": "security updates of bases would be left out",
    },
    "local": dict.fromkeys(("port", "max_body", "deadline_s", "start_s", "drain_s", "stop_s"), "limits of this machine")
    | {"usd_per_hour": "hides what something costs", "gpus": "which devices of this machine are taken"},
    "docker": dict.fromkeys(
        ("port", "max_body", "deadline_s", "start_s", "drain_s", "stop_s"), "limits of this machine"
    )
    | {
        "usd_per_hour": "hides what something costs",
        "base": "a registry to ask, and the code of every image",
        "host": "the engine to connect to",
        "reach": "how requests travel",
    },
    "sagemaker": {
        "profile": "which credentials are used",
        "bucket": "where data goes",
        "bucket_owner": "where data goes",
        "prefix": "where data goes",
        "repository": "where images go",
        "base": "a registry to ask, and the code of every image",
        "serverless": "limits of what is paid for",
        "shadow": "copies of requests",
        "scale_at": "when more is paid for",
        "subnets": "what containers reach",
        "security_groups": "what containers reach",
        "network_isolation": "what containers reach",
        "kms_key": "who can read results",
        "volume_gb": "what is paid for",
        "spot": "jobs are interrupted",
        "spot_wait_s": "jobs wait",
        "start_s": "limits",
        "max_body": "limits",
        "deadline_s": "limits",
        "delete_logs": "destroys the record of what happened",
    },
    "vertex": {
        "kms_key": "who can read results",
        "network": "what containers reach",
        "public": "who may call an endpoint",
        "bucket": "where data goes",
        "bucket_owner": "where data goes",
        "repository": "where images go",
        "base": "a registry to ask, and the code of every image",
        "dedicated": "where requests go",
        "predict": "how requests are read",
        "deadline_s": "limits",
        "service_account": "as whom models and jobs run",
        "spot": "replicas are taken away",
        "smoke_endpoint": "what is paid for",
        "scale_cpu": "when more is paid for",
        "disk_gib": "what is paid for",
        "health_route": "what a container is asked",
        "predict_route": "what a container is asked",
    },
    "azureml": {
        "auth": "who may call an endpoint",
        "identity": "as whom models run",
        "public": "who may call an endpoint",
        "public_egress": "what containers reach",
        "base": "a registry to ask, and the code of every image",
        "max_body": "limits",
        "deadline_s": "limits",
        "start_s": "limits",
        "concurrency": "limits",
        "scale_at": "when more is paid for",
        "app_insights": "where logs go",
        "mirror": "copies of requests",
        "compute": "where jobs run",
        "job_tier": "jobs wait",
        "job_identity": "as whom jobs run",
        "endpoint": "where credentials are sent",
        "storage_account": "where data goes",
        "ca": "whom to believe",
    },
}


EVERY_TARGET = {"any_instance": "hides what something costs", "max_answer": "limits of this machine"}


def settings_of(owner: str) -> set[str]:
    """The names of the settings of the core, or of an installed adapter's options."""
    if owner == "core":
        return {key.path[0] for key in KEYS}
    return set(adapters.load(owner).Options.model_fields)


@pytest.mark.parametrize("owner", ["core", *sorted(adapters.names())])
def test_every_setting_is_either_allowed_or_guarded(owner: str) -> None:
    """Whoever adds a setting decides whether an untrusted project file may set it."""
    allowed = TOP_KEYS if owner == "core" else TARGET_KEYS
    common = {} if owner == "core" else EVERY_TARGET
    known, guarded = settings_of(owner), {*GUARDED.get(owner, {}), *common}
    assert (set(), set()) == (known - allowed - guarded, guarded & allowed)
    assert guarded <= known
    for key in guarded:
        assert refusal((key,) if owner == "core" else ("target", "x", key), 1)


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
from sdk.adapter.registry import adapters
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
