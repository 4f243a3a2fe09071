"""The configuration: layers, provenance, and errors a person can act on."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

from sdk.config import Layer, Rule, load
from sdk.errors import ConfigError, UnknownKeyError


def text_of(caught: pytest.ExceptionInfo[ConfigError]) -> str:
    return str(caught.value)


# --- layers and provenance --------------------------------------------------------------------------------------


def test_with_no_configuration_everything_works_on_local(home: Any) -> None:
    """The default target is `local`, which needs no setting."""
    settings = home.load()
    assert ("local", "local", Layer.DEFAULT) == (
        settings.target().name,
        settings.target().provider,
        settings.default.source.layer,
    )


LAYERS = ("argument", "environment", "project", "user")


@pytest.mark.parametrize("strongest", range(4), ids=LAYERS)
def test_the_stronger_layer_wins(home: Any, strongest: int) -> None:
    """Argument > environment > project file > user file, whichever of them are there."""
    present = LAYERS[strongest:]
    if "user" in present:
        home.user_file.write_text('default = "user"\n')
    if "project" in present:
        home.write('default = "project"\n')
    env = {"MLPORT_TARGET": "environment"} if "environment" in present else {}
    arguments = {"target": "argument"} if "argument" in present else {"target": None}
    settings = home.load(env, arguments=arguments)
    assert (present[0], present[0]) == (settings.default.value, str(settings.default.source).split()[0])


def test_each_value_knows_its_place(home: Any) -> None:
    """Sources name the argument, the variable or the file."""
    file = home.write('log = "info"\n[target.aws]\nprovider = "cloud"\nregion = "mars"\nreplicas = { min = 1 }\n')
    home.trust()
    home.user_file.write_text('owner = "ada"\n')
    env = {"MLPORT_TARGET_AWS__REPLICAS__MAX": "3", "MLPORT_OFFLINE": "yes"}
    rows = {row.key: (row.value, row.source) for row in home.load(env, arguments={"target": "aws"}).explain()}
    assert {
        "default": ("aws", "argument target="),
        "owner": ("ada", f"user file {home.user_file}"),
        "state_dir": (f"{home.user}/.local/state/mlport", "default"),
        "log": ("info", f"project file {file}"),
        "offline": ("true", "environment MLPORT_OFFLINE"),
        "objective.p95_ms": ("none", "default"),
        "monitor.alarms": ("none", "default"),
        "target.aws.provider": ("cloud", f"project file {file}"),
        "target.aws.region": ("mars", f"project file {file}"),
        "target.aws.replicas.min": ("1", f"project file {file}"),
        "target.aws.replicas.max": ("3", "environment MLPORT_TARGET_AWS__REPLICAS__MAX"),
    } == rows


def test_a_target_is_put_together_from_several_layers(home: Any) -> None:
    """Keys of one target may come from different places, also inside its tables."""
    home.user_file.write_text('[target.aws]\nrole = "r"\ntags = { team = "a", cost = "1" }\n')
    home.write('[target.aws]\nprovider = "cloud"\nregion = "mars"\ntags = { team = "b" }\n')
    options = home.load({"MLPORT_TARGET_AWS__NETWORK__SUBNET": "inner"}).target("aws").options(home.cloud.Options)
    assert ("mars", "r", {"team": "b", "cost": "1"}, "inner") == (
        options.region,
        options.role,
        options.tags,
        options.network.subnet,
    )


def test_resources_are_replaced_as_a_whole(home: Any) -> None:
    """Memory from one place and processors from another make no sense together."""
    home.write('[target.aws]\nprovider = "cloud"\nregion = "m"\nresources = { cpu = 2, memory_gib = 8 }\n')
    settings = home.load({"MLPORT_TARGET_AWS__RESOURCES__GPU": "1"})
    resources = settings.target("aws").options(home.cloud.Options).resources
    assert (None, None, 1) == (resources.cpu, resources.memory_gib, resources.gpu)


def test_an_instance_named_by_argument_replaces_resources_of_a_file(home: Any) -> None:
    """The two answer the same question, so the stronger one stands alone."""
    home.write('[target.aws]\nprovider = "cloud"\nregion = "m"\nresources = { cpu = 2 }\n')
    options = home.load().target("aws").overlay({"instance": "big", "ttl": None}).options(home.cloud.Options)
    assert ("big", None, None) == (options.instance, options.resources, options.ttl)


def test_instance_and_resources_in_one_place_contradict_each_other(home: Any) -> None:
    """Nobody could tell which is meant."""
    home.write('[target.aws]\nprovider = "cloud"\nregion = "m"\ninstance = "x"\nresources = { cpu = 2 }\n')
    with pytest.raises(ConfigError, match=r"mlport\.toml: target\.aws has both instance and resources; keep one"):
        home.load()


def test_only_a_least_number_of_replicas_is_also_the_most(home: Any) -> None:
    """`min = 2` alone asks for two."""
    home.write('[target.aws]\nprovider = "cloud"\nregion = "m"\nreplicas = { min = 2 }\n')
    assert 2 == home.load().target("aws").options(home.cloud.Options).replicas.max


@pytest.mark.parametrize("replicas", [{"min": 3, "max": 1}, {"min": 0, "max": 0}, {"min": -1, "max": 1}])
def test_contradicting_replicas_are_refused_from_an_argument_too(home: Any, replicas: dict[str, int]) -> None:
    """Nothing is mended silently that was said explicitly."""
    target = home.load(arguments={"target": {"cloud": {"region": "m"}}}).target("cloud")
    with pytest.raises(ConfigError, match=r"argument replicas=: target\.cloud\.replicas = .*; need 0 <= min <= max"):
        target.overlay({"replicas": replicas}).options(home.cloud.Options)


@pytest.mark.parametrize("name", ["my-box", "my_box"])
def test_a_variable_finds_its_target_whatever_the_hyphens(home: Any, name: str) -> None:
    """MLPORT_TARGET_MY_BOX__REGION belongs to `my-box` or `my_box`, whichever is configured."""
    home.write(f'[target.{name}]\nprovider = "cloud"\n')
    settings = home.load({"MLPORT_TARGET_MY_BOX__REGION": "venus"})
    assert "venus" == settings.target(name).options(home.cloud.Options).region


def test_a_target_can_stand_in_the_environment_alone(home: Any) -> None:
    """A runner without files still has its target."""
    env = {"MLPORT_TARGET": "ci", "MLPORT_TARGET_CI__PROVIDER": "cloud", "MLPORT_TARGET_CI__REGION": "m"}
    assert ("cloud", home.cloud) == (home.load(env).target().provider, home.load(env).target().adapter())


def test_empty_variables_count_as_not_set(home: Any) -> None:
    """An empty MLPORT_TARGET chooses nothing."""
    assert "local" == home.load({"MLPORT_TARGET": "", "MLPORT_OFFLINE": ""}).target().name


def test_a_variable_may_hold_a_table_as_json(home: Any) -> None:
    """Lists and tables are written as JSON."""
    env = {"MLPORT_MONITOR__ALARMS": '["rate < 1"]', "MLPORT_TARGET_X__TAGS": '{"a": "b"}'}
    settings = home.load(env)
    assert ((Rule("rate", "<", 1.0),), "b") == (
        settings.alarms.value,
        settings.targets["x"].values["tags", "a"].value,
    )


# --- files ------------------------------------------------------------------------------------------------------


def test_a_file_may_begin_with_the_mark_of_windows_editors(home: Any) -> None:
    """A byte order mark and Windows' line ends change nothing."""
    home.user_file.write_bytes(b'\xef\xbb\xbf[target.aws]\r\nprovider = "sagemaker"\r\n')
    assert "sagemaker" == home.load().target("aws").provider


def test_the_table_of_pyproject_is_read(home: Any) -> None:
    """[tool.mlport] has the same keys as mlport.toml."""
    home.write(
        '[project]\nname = "x"\n[tool.mlport]\ndefault = "a"\n[tool.mlport.target.a]\nprovider = "cloud"\n',
        "pyproject.toml",
    )
    assert "cloud" == home.load().target().provider


def test_a_pyproject_without_our_table_is_left_alone(home: Any) -> None:
    """Most are; even a broken one, as long as it does not speak of us."""
    home.write("[project\n", "pyproject.toml")
    assert () == home.load().files


def test_both_forms_in_one_folder_are_an_error(home: Any) -> None:
    """Nobody could tell which one counts."""
    home.write("")
    home.write("[tool.mlport]\n", "pyproject.toml")
    with pytest.raises(ConfigError, match=r"both .*mlport\.toml and \[tool\.mlport\] in .* are there; keep one"):
        home.load()


def test_the_file_is_found_from_a_folder_below(home: Any) -> None:
    """Scripts run in subfolders of a project."""
    file = home.write("")
    below = home.project / "a" / "b"
    below.mkdir(parents=True)
    assert (file,) == home.load(directory=below).files


def test_the_search_ends_at_the_root_of_a_repository(home: Any) -> None:
    """What lies around a repository is not its configuration."""
    home.write("")
    below = home.project / "repo"
    (below / ".git").mkdir(parents=True)
    assert () == home.load(directory=below).files


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give files away")
def test_a_file_of_somebody_else_further_up_is_not_read(home: Any) -> None:
    """A file in a shared folder such as /tmp must not reach into the folders of others."""
    file = home.write("")
    below = home.project / "mine"
    below.mkdir()
    os.chown(file, 65534, 65534)
    assert () == home.load(directory=below).files


UNREADABLE = """
import os, pathlib, sys
from sdk.config import load
from sdk.errors import ConfigError
os.setuid(65534)
try:
    print(load(env={"HOME": "/"}, directory=pathlib.Path(sys.argv[1])).files)
except ConfigError as error:
    print(error)
"""


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become somebody else")
@pytest.mark.parametrize("name", ["mlport.toml", "pyproject.toml"])
def test_a_file_that_may_not_be_read_is_named(name: str) -> None:
    """Going on without it would be a surprise."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        file = Path(folder, name)
        file.touch(mode=0)
        command = [sys.executable, "-c", UNREADABLE, folder]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert f"cannot read {file}: Permission denied\n" == done.stdout


def test_another_file_can_be_named(home: Any, tmp_path: Path) -> None:
    """By argument or by MLPORT_CONFIG, instead of the one that would be found."""
    home.write('default = "found"\n')
    other = tmp_path / "other.toml"
    other.write_text('default = "named"\n')
    assert ["named", "named"] == [
        home.load(config=other).default.value,
        home.load({"MLPORT_CONFIG": str(other)}).default.value,
    ]


def test_a_named_file_must_be_there(home: Any) -> None:
    """A slip in MLPORT_CONFIG does not silently mean no configuration."""
    with pytest.raises(ConfigError, match=r"there is no configuration file .*nowhere\.toml"):
        home.load({"MLPORT_CONFIG": "nowhere.toml"})


def test_the_user_file_follows_the_xdg_rules(home: Any, tmp_path: Path) -> None:
    """XDG_CONFIG_HOME and XDG_STATE_HOME move it and the state, unless they are relative."""
    (tmp_path / "xdg" / "mlport").mkdir(parents=True)
    (tmp_path / "xdg" / "mlport" / "config.toml").write_text('default = "moved"\n')
    env = {"XDG_CONFIG_HOME": str(tmp_path / "xdg"), "XDG_STATE_HOME": "relative"}
    settings = home.load(env)
    assert ("moved", home.user / ".local" / "state" / "mlport") == (settings.default.value, settings.state_dir.value)


@pytest.mark.parametrize(("layer", "base"), [("user", "home/.config/mlport"), ("environment", "project")])
def test_a_relative_state_folder_is_relative_to_where_it_was_written(
    home: Any, tmp_path: Path, layer: str, base: str
) -> None:
    """To the file, or to the current directory."""
    home.user_file.write_text('state_dir = "st"\n' if layer == "user" else "")
    env = {"MLPORT_STATE_DIR": "st"} if layer == "environment" else {}
    assert tmp_path / base / "st" == home.load(env).state_dir.value


# --- errors -----------------------------------------------------------------------------------------------------

BROKEN = {
    "no value": ("default =\n", ":1:10: Invalid value\n  default =\n           ^"),
    "open string": ('a = 1\nb = "x\n', ":2:7: "),
    "open table": ("[target\n", ":1:8: "),
    "same key twice": ("log = 'info'\nlog = 'info'\n", ":2:13: Cannot overwrite a value"),
    "cut off": ("default = ", ":1:11: Invalid value"),
    "tab": ("\tx y\n", ":1:4: "),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_syntax_error_names_file_line_column_and_shows_the_line(home: Any, case: str) -> None:
    """The place can be clicked in an editor, and the line is under the message."""
    text, expected = BROKEN[case]
    file = home.write(text)
    with pytest.raises(ConfigError) as caught:
        home.load()
    assert text_of(caught).startswith(f"{file}{expected}")
    assert text.split("\n")[int(expected.split(":")[1]) - 1] in text_of(caught)


def test_a_file_in_another_encoding_is_named_with_the_line(home: Any) -> None:
    """Latin-1 is not UTF-8."""
    (home.project / "mlport.toml").write_bytes(b'log = "info"\nowner = "\xe9"\n')
    with pytest.raises(
        ConfigError, match=r"mlport\.toml:2: not text in UTF-8 or UTF-16: .* at byte 22; save it as UTF-8"
    ):
        home.load()


def test_a_very_deep_file_is_refused(home: Any) -> None:
    """Nesting cannot crash the reader."""
    home.write(f"x = {'[' * 100_000}{']' * 100_000}\n")
    with pytest.raises(ConfigError, match="nested too deeply"):
        home.load()


@pytest.mark.parametrize("part", ["a", "a-b_1", '"a.b"', "'a'"])
@pytest.mark.parametrize(
    "form", ["{} = 1", "[{}]", "[[{}]]", "x = {{ {} = 1 }}", "x = {{ y = 2, {} = 1 }}", "  {} = 1"]
)
def test_a_key_without_end_is_refused_unread(home: Any, form: str, part: str) -> None:
    """Python's reader would take minutes for one of a hundred thousand parts."""
    home.write(f'# first\nowner = "me"\n{form.format(" . ".join([part] * 100_000))}\n')
    with pytest.raises(ConfigError, match=r"mlport\.toml:3: a key of more than 16 parts; nested too deeply"):
        home.load()


def test_values_with_many_dots_are_values(home: Any) -> None:
    home.write(
        f'default = "local"\n[target.local]\nprovider = "local"\ntags = {{ parts = "{".".join(["a"] * 30)}" }}\n'
    )
    assert "local" == home.load().default.value


def test_a_very_large_file_is_refused(home: Any) -> None:
    """A configuration is not a data file."""
    home.write("#" * (1 << 20) + "\n")
    with pytest.raises(ConfigError, match="larger than 1048576 bytes"):
        home.load()


UNKNOWN = {
    "top": ('defualt = "x"\n', "unknown key 'defualt'; did you mean 'default'?"),
    "table": ("[objectiv]\n", "unknown key 'objectiv'; did you mean 'objective'?"),
    "in a table": ("[objective]\np95 = 1\n", "unknown key 'objective.p95'; did you mean 'p95_ms'?"),
    "credentials": ("aws_secret = 'x'\n", "unknown key 'aws_secret'; known are: default, "),
}


@pytest.mark.parametrize("case", UNKNOWN)
def test_an_unknown_key_is_an_error_with_a_did_you_mean(home: Any, case: str) -> None:
    """A slip is found at once, with the file."""
    text, expected = UNKNOWN[case]
    file = home.write(text)
    with pytest.raises(UnknownKeyError) as caught:
        home.load()
    assert text_of(caught).startswith(f"project file {file}: {expected}")


def test_an_unknown_argument_is_an_error_too(home: Any) -> None:
    """Arguments are checked like files."""
    with pytest.raises(UnknownKeyError, match="argument onwer=: unknown key 'onwer'; did you mean 'owner'"):
        home.load(arguments={"onwer": "x"})


OPTIONS = {
    "unknown": ("regoin = 'x'", "unknown key 'target.aws.regoin'; did you mean 'region'?"),
    "in a table": ("replicas = { mn = 1 }", "unknown key 'target.aws.replicas.mn'; did you mean 'min'?"),
    "in resources": ("resources = { cpus = 1 }", "unknown key 'target.aws.resources.cpus'; did you mean 'cpu'?"),
    "in its own table": ("network = { subnt = 'a' }", "'target.aws.network.subnt'; did you mean 'subnet'?"),
    "wrong type": ("timeout = 'soon'", "target.aws.timeout = 'soon': Input should be a valid integer"),
    "wrong table": ("replicas = 3", "target.aws.replicas = 3: Input should be"),
    "replicas": ("replicas = { min = 3, max = 1 }", "target.aws.replicas = { min = 3, max = 1 }; need 0 <= min <= max"),
    "no memory": ("resources = { memory_gib = 0 }", "target.aws.resources.memory_gib = 0.0 must be above 0"),
    "nan": ("resources = { cpu = nan }", "target.aws.resources.cpu = nan must be above 0"),
    "ttl": ("ttl = 'soon'", "target.aws.ttl = 'soon' is not a duration; write it like 90s"),
}


@pytest.mark.parametrize("case", OPTIONS)
def test_a_wrong_setting_of_a_target_names_the_key_the_file_and_the_fix(home: Any, case: str) -> None:
    """The adapter's own options are checked by the adapter's model and told in our words."""
    text, expected = OPTIONS[case]
    file = home.write(f'[target.aws]\nprovider = "cloud"\nregion = "x"\n{text}\n')
    home.trust()
    target = home.load().target("aws")
    with pytest.raises(ConfigError) as caught:
        target.options(target.adapter().Options)
    assert text_of(caught).startswith(f"project file {file}: ")
    assert expected in text_of(caught)


def test_a_required_setting_is_named(home: Any) -> None:
    """Also when the whole target stands nowhere."""
    with pytest.raises(ConfigError, match=r"^target\.cloud\.region is required$"):
        home.load().target("cloud").options(home.cloud.Options)


def test_a_wrong_secret_is_not_shown(home: Any) -> None:
    """The value of a key with a secret's name stays out of errors and listings."""
    home.write('[target.aws]\nprovider = "cloud"\nregion = "x"\naccount_secret = 12345678\n')
    home.trust()
    settings = home.load()
    with pytest.raises(ConfigError, match="account_secret") as caught:
        settings.target("aws").options(home.cloud.Options)
    assert "12345678" not in f"{caught.value} {settings!r} {settings.explain()}"


VALUES = {
    "log": ("log = 'loud'", "log = 'loud' is not a log level"),
    "offline": ("offline = 'maybe'", "offline = 'maybe' must be true or false"),
    "owner": ("owner = 'Ada L.'", "owner = 'Ada L.' must be 1 to 63 lower-case letters"),
    "default": ("default = ''", "default = '' must be a text"),
    "objective": ("objective = 100", "objective must be a table; write [objective]"),
    "p95 zero": ("[objective]\np95_ms = 0", "objective.p95_ms = 0 must be a number above 0"),
    "p95 infinite": ("[objective]\np95_ms = inf", "objective.p95_ms = inf must be a number above 0"),
    "p95 true": ("[objective]\np95_ms = true", "objective.p95_ms = True must be a number above 0"),
    "alarms": ("[monitor]\nalarms = 'p95_ms > 1'", "monitor.alarms must be a list of rules; write it like"),
    "alarm": ("[monitor]\nalarms = ['slow']", "monitor.alarms = 'slow' is not a rule; write it like: p95_ms > 100"),
    "target": ("target = 1", "target must be a table"),
    "target name": ("[target.'A b']", "target name 'A b' is not valid; use up to 32 lower-case letters"),
    "target value": ("[target]\nlocal = 1", "target.local must be a table; write [target.local]"),
}


@pytest.mark.parametrize("case", VALUES)
def test_a_wrong_value_names_the_key_the_file_and_what_is_expected(home: Any, case: str) -> None:
    """Each core key is checked when the file is read."""
    text, expected = VALUES[case]
    file = home.write(text + "\n")
    home.trust()
    with pytest.raises(ConfigError) as caught:
        home.load()
    assert text_of(caught).startswith(f"project file {file}: {expected}")


VARIABLES = {
    "no key": ({"MLPORT_TARGET_AWS": "x"}, "MLPORT_TARGET_AWS names no setting; write MLPORT_TARGET_<NAME>__<KEY>"),
    "bad json": ({"MLPORT_TARGET_A__TAGS": "{x"}, "MLPORT_TARGET_A__TAGS is no valid JSON"),
    "whole and part": (
        {"MLPORT_TARGET_A__TAGS": "x", "MLPORT_TARGET_A__TAGS__B": "y"},
        "MLPORT_TARGET_A__TAGS__B goes into 'tags', which another variable sets as a whole",
    ),
    "value": ({"MLPORT_OFFLINE": "2"}, "environment MLPORT_OFFLINE: offline = '2' must be true or false"),
    "unknown": ({"MLPORT_OBJECTIVE__P9": "2"}, "environment MLPORT_OBJECTIVE__P9: unknown key 'objective.p9'"),
}


@pytest.mark.parametrize("case", VARIABLES)
def test_a_wrong_variable_is_named(home: Any, case: str) -> None:
    """The message says which variable to mend."""
    env, expected = VARIABLES[case]
    with pytest.raises(ConfigError) as caught:
        home.load(env)
    assert text_of(caught).startswith(expected)


def test_a_variable_that_fits_two_targets_is_refused(home: Any) -> None:
    """Hyphen and underscore look the same in a variable's name."""
    home.write('[target.a-b]\nprovider = "cloud"\n[target.a_b]\nprovider = "cloud"\n')
    with pytest.raises(ConfigError, match="fits the targets a-b and a_b; rename one"):
        home.load({"MLPORT_TARGET_A_B__REGION": "x"})


def test_an_unknown_target_is_an_error_with_a_did_you_mean(home: Any) -> None:
    """By argument, and as the default of a file."""
    file = home.write('default = "laptpo"\n[target.laptop]\nprovider = "local"\n')
    settings = home.load()
    with pytest.raises(UnknownKeyError, match=r"^unknown target 'lokal'; did you mean 'local'\?$"):
        settings.target("lokal")
    with pytest.raises(UnknownKeyError) as caught:
        settings.target()
    assert f"project file {file}: unknown target 'laptpo'; did you mean 'laptop'?" == text_of(caught)


def test_an_unknown_provider_is_an_error_with_a_did_you_mean(home: Any) -> None:
    """It names the file, and does not stop the other targets from working."""
    file = home.write('[target.a]\nprovider = "clowd"\n[target.b]\nprovider = "cloud"\n')
    settings = home.load()
    with pytest.raises(UnknownKeyError) as caught:
        settings.target("a").adapter()
    assert (f"project file {file}: unknown provider 'clowd'; did you mean 'cloud'?", home.cloud) == (
        text_of(caught),
        settings.target("b").adapter(),
    )


def test_a_target_without_a_provider_is_told_which_there_are(home: Any) -> None:
    """Its name is not an installed provider's."""
    home.write("[target.a]\nregion = 'x'\n")
    with pytest.raises(ConfigError, match=r'target\.a needs a provider; write provider = "…", one of: cloud, local'):
        _ = home.load().target("a").provider


def test_settings_cannot_be_changed(home: Any) -> None:
    """A configuration holds for the life of a client."""
    with pytest.raises(AttributeError):
        home.load().default = None


def test_home_folder_of_nobody_is_named() -> None:
    """A path below the home folder of a user that does not exist is an error that names the setting."""
    with pytest.raises(ConfigError, match=r"state_dir.*~nobody-here/x.*home folder is not known"):
        load(arguments={"state_dir": "~nobody-here/x"}, env={})
