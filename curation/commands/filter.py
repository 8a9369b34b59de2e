"""`trajkit filter`: rules over scored clips."""

from pathlib import Path

import click

from trajkit.cli import REJECTED
from trajkit.commands._common import emit, keep_resolved, stage_options

from ..filter import Outcome, judge, scored, write
from ..rules import read_rules


@click.command("filter")
@click.argument("folders", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="CLIPS...")
@click.option("--rules", type=click.Path(path_type=Path), required=True, metavar="TOML", help="The rules.")
@stage_options
def command(
    folders: tuple[Path, ...], rules: Path, out: Path, seed: int, workers: int, dry_run: bool, as_json: bool
) -> int:
    """Accept, reject or leave undetermined the scored clips of the folders CLIPS, by rules.

    \b
    trajkit filter clips --rules rules.toml --out clips

    CLIPS are folders that trajkit score wrote into; only their ledgers are read. Each rule's count says how many clips
    it removes as the first one, rejects, and leaves undetermined. Writes OUT/filter/accepted.txt, rejected.txt and
    undetermined.txt (one key a line) and a row for each clip and rule in OUT/ledger. Nothing is deleted. --seed and
    --workers change nothing here. Exit code 3: some clips are rejected.
    """
    outcome = judge(read_rules(rules), scored(folders))
    if not dry_run:
        write(outcome, out, rules)
        keep_resolved(out)
    by_rule, counts = outcome.by_rule(), outcome.counts
    result = {"rules": by_rule, "clips": len(outcome.clips), "out": None if dry_run else str(out), **counts}
    emit(result, as_json, _lines(outcome))
    return REJECTED if counts["rejected"] else 0


def _lines(outcome: Outcome) -> list[str]:
    columns = ("first", "rejected", "undetermined")
    by_rule = outcome.by_rule()
    width = max(len("rule"), *(len(one["rule"]) for one in by_rule))
    head = "  ".join(["rule".ljust(width), *columns])
    body = ["  ".join([one["rule"].ljust(width), *(f"{one[c]:>{len(c)}}" for c in columns)]) for one in by_rule]
    total = ", ".join(f"{count} {state}" for state, count in outcome.counts.items())
    return [head, *body, f"{len(outcome.clips)} clips: {total}"]
