"""The command line: help, exit codes, option files, one-line errors."""

import subprocess
import sys
import tomllib
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from trajkit import cli
from trajkit.errors import TrajkitError


def trajkit(*arguments: object) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of the program's own entry point, in this process."""
    runner = CliRunner()
    command = click.Command("run", callback=lambda: cli.main([str(argument) for argument in arguments]))
    result = runner.invoke(command, [])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stdout, result.stderr


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_each_command_has_help_with_an_example_and_defaults(name: str) -> None:
    code, out, _ = trajkit(name, "--help")
    assert code == 0
    assert f"trajkit {name}" in out.split("Usage:")[1].split("\n", 1)[1], "an example"
    command = cli.group.get_command(click.Context(cli.group), name)
    assert command is not None
    assert command.name == name
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            assert parameter.help, f"{name} {parameter.name} has no help"


def test_help_lists_every_command_and_is_quick_to_import() -> None:
    done = subprocess.run([sys.executable, "-m", "trajkit", "--help"], capture_output=True, text=True, check=True)
    assert all(f"  {name} " in done.stdout for name in cli.COMMANDS)


def test_unknown_command_and_option_are_usage_errors() -> None:
    code, _, err = trajkit("rendr")
    assert (code, "No such command 'rendr'" in err) == (2, True)
    code, _, err = trajkit("render", "--pth", "x")
    assert (code, "No such option" in err) == (2, True)


def test_an_error_is_one_line_and_debug_shows_more(tmp_path: Path) -> None:
    code, out, err = trajkit("render", "dl3dv:" + str(tmp_path / "absent"), "--path", "orbit", "--out", tmp_path / "o")
    assert (code, out) == (1, "")
    assert err.count("\n") == 1
    assert err.startswith("error: ")
    with pytest.raises(TrajkitError):
        trajkit("--debug", "render", "dl3dv:" + str(tmp_path / "absent"), "--path", "orbit", "--out", tmp_path / "o")


def test_config_file_set_and_flags_override_in_that_order(tmp_path: Path) -> None:
    config = tmp_path / "run.toml"
    config.write_text(
        '[render]\nframes = 9\nsize = "64x48"\npaths = ["orbit", "spiral"]\ncount = 3\nscenes = ["toy:"]\n'
    )
    flags = ("--set", "count=2", "--fps", 8, "--dry-run", "--out", tmp_path / "clips")
    code, out, err = trajkit("render", "--config", config, *flags)
    assert code == 0, err
    assert "frames: 9" in out
    assert "count: 2" in out
    assert "fps: 8.0" in out
    assert sum("#" in line for line in out.splitlines()) == 2
    assert not (tmp_path / "clips").exists(), "a dry run writes nothing"
    code, out, _ = trajkit("render", *flags, "--config", config)
    assert "count: 2" in out, "--set wins wherever it stands"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[render]\nframs = 9\n", "did you mean 'frames'"),
        ("render = 3\n", "not a table"),
        ("[render\n", "not valid TOML"),
        ("[render]\nframes = 10\n", "4n+1"),
        ("[render]\nframes = 'many'\n", "not a valid integer"),
    ],
)
def test_mistakes_in_an_option_file_are_named(tmp_path: Path, text: str, words: str) -> None:
    config = tmp_path / "run.toml"
    config.write_text(text)
    code, _, err = trajkit("render", "toy:", "--path", "orbit", "--out", tmp_path / "o", "--config", config)
    assert code in (1, 2)
    assert words in err
    assert not (tmp_path / "o").exists()


def test_the_resolved_copy_is_read_back_to_the_same_options(tmp_path: Path) -> None:
    flags = ("--frames", 5, "--size", "64x48", "--count", 1)
    code, _, err = trajkit("render", "toy:", "--path", "orbit:turns=0.01", *flags, "--out", tmp_path / "a")
    assert code == 0, err
    resolved = tmp_path / "a/render.toml"
    assert tomllib.loads(resolved.read_text())["render"]["size"] == "64x48"
    code, _, err = trajkit("render", "--config", resolved, "--out", tmp_path / "b")
    assert code == 0, err
    names = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert names == sorted(path.name for path in (tmp_path / "b").iterdir())
    assert all((tmp_path / "a" / n).read_bytes() == (tmp_path / "b" / n).read_bytes() for n in names if "." in n)
