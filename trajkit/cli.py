"""The command line: a lazy table of commands, so that `trajkit --help` imports nothing heavy."""

import importlib
import os
import sys
from typing import Any

import click

from trajkit import __version__
from trajkit.errors import TrajkitError

# command -> (module:object, one line for --help)
COMMANDS = {
    "demo": ("trajkit.commands.demo:command", "Run the whole pipeline on the built-in scene."),
    "reconstruct": ("trajkit.commands.reconstruct:command", "Turn a posed capture into Gaussian splats (PLY)."),
    "render": ("trajkit.commands.render:command", "Render clips along sampled trajectories."),
    "attach": ("trajkit.curation.commands.attach:command", "Give plain footage a synthetic camera path."),
    "import": ("trajkit.curation.commands.importing:command", "Take published videos with poses as clips."),
    "export": ("trajkit.curation.commands.export:command", "Write clips in other trainers' layouts."),
    "convert": ("trajkit.commands.convert:command", "Convert camera poses between formats."),
    "probe": ("trajkit.curation.commands.probe:command", "Find out which convention a file of poses follows."),
    "score": ("trajkit.curation.commands.score:command", "Score how far poses can be believed, from the pixels."),
    "repair": ("trajkit.curation.commands.repair:command", "Refine poses that the pixels contradict."),
    "filter": ("trajkit.curation.commands.filter:command", "Accept and reject scored clips by rules."),
    "balance": ("trajkit.curation.commands.balance:command", "Weigh clips so that motions are evenly sampled."),
    "pack": ("trajkit.commands.pack:command", "Pack clip folders into WebDataset shards."),
    "check": ("trajkit.commands.check:command", "Check clips or shards: structure, checksums, decode, poses."),
    "report": ("trajkit.curation.commands.report:command", "Make a page about a data set's quality."),
    "show": ("trajkit.commands.show:command", "Make a page and a contact sheet of clips and their cameras."),
    "encode": ("trajkit.trainers.commands.encode:command", "Turn clips into latents and text embeddings."),
    "pairs": ("trajkit.trainers.commands.pairs:command", "Make a teacher's paths, which the stage ode learns from."),
    "train": ("trajkit.trainers.commands.train:command", "Train a network through one stage."),
    "rollout": ("trajkit.trainers.commands.rollout:command", "Make clips along commanded cameras."),
    "evaluate": ("trajkit.trainers.commands.evaluate:command", "Compare commanded with achieved camera motion."),
    "plugins": ("trajkit.commands.plugins:command", "List plugins and what they need."),
    "doctor": ("trajkit.commands.doctor:command", "Say what this machine can and cannot run."),
}
REJECTED = 3  # exit code: finished, with rejected items


class LazyGroup(click.Group):
    """A click group whose commands are imported when they are asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[name][0].partition(":")
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in COMMANDS.items()])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="trajkit")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
@click.pass_context
def group(ctx: click.Context, debug: bool) -> None:
    """Camera-controlled video training data that can be trusted.

    \b
    trajkit render toy: --path orbit --count 2 --out clips
    trajkit pack clips --out shards && trajkit check shards
    """


def main(arguments: list[str] | None = None) -> Any:
    """Runs the command line and exits: 0 done, 1 failed, 2 usage, 3 finished with rejected items."""
    arguments = sys.argv[1:] if arguments is None else arguments
    debug = "--debug" in arguments
    try:
        code = group.main(arguments, prog_name="trajkit", standalone_mode=False)
    except TrajkitError as error:
        if debug:
            raise
        fail(str(error), 1)
    except click.exceptions.Abort:
        fail("interrupted; run the same command again to go on", 130)
    except click.ClickException as error:
        if debug:
            raise
        error.show()
        sys.exit(error.exit_code)
    except BrokenPipeError:  # `trajkit ... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:
        if debug:
            raise
        fail(f"{error.filename or 'file system'}: {error.strerror or error}; free space or correct the path", 1)
    sys.exit(code if isinstance(code, int) else 0)


def fail(message: str, code: int) -> None:
    """Prints one line on stderr and exits."""
    click.echo(f"error: {message}", err=True)
    sys.exit(code)


if __name__ == "__main__":
    main()
