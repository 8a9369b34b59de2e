"""The examples in the README, the docs and the help are ones that run."""

import re
import shlex
import warnings
from pathlib import Path

import click
import pytest
import tinyclips
from test_cli import trajkit

from trajkit import cli

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks(page: Path, language: str) -> list[str]:
    """The fenced code blocks of a language ("" = none given)."""
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE)


def commands() -> list[tuple[str, str]]:
    """(where, command line) of every trajkit command in a page or in a command's help."""
    texts = [(page.name, "\n".join(blocks(page, "") + blocks(page, "bash"))) for page in PAGES]
    context = click.Context(cli.group)
    texts += [(name, cli.group.get_command(context, name).help or "") for name in cli.COMMANDS]
    lines = [(where, line.strip()) for where, text in texts for line in text.splitlines()]
    found = [(where, part.strip()) for where, line in lines for part in line.split("&&")]
    return [(where, line) for where, line in found if line.startswith("trajkit ")]


@pytest.mark.parametrize(("where", "line"), commands())
def test_commands_have_the_options_that_examples_use(where: str, line: str) -> None:
    _, *arguments = shlex.split(line, comments=True)
    if arguments[0].startswith("-"):
        pytest.skip("an option of trajkit itself")
    command = cli.group.get_command(click.Context(cli.group), arguments[0])
    assert command is not None, f"{where}: {line}"
    command.make_context(arguments[0], arguments[1:])  # raises a usage error for what the command does not take


def test_the_examples_are_found() -> None:
    names = {shlex.split(line, comments=True)[1] for _, line in commands()}
    assert names >= {"render", "pack", "check", "show", "convert", "demo", "reconstruct"}


@pytest.mark.parametrize("page", ["README.md", "docs/quickstart.md"])
def test_python_examples_read_shards(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each in a namespace of its own."""
    tinyclips.real(tmp_path / "clips", 2)
    assert trajkit("pack", tmp_path / "clips", "--out", tmp_path / "shards")[0] == 0
    examples = blocks(ROOT / page, "python")
    assert examples
    monkeypatch.chdir(tmp_path)
    for example in examples:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            exec(compile(example, page, "exec"), {"__name__": "__main__"})
