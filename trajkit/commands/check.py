"""`trajkit check`: every defect of clips and shards, one line each."""

from collections import Counter
from dataclasses import asdict
from pathlib import Path

import click

from trajkit.check import check, summary
from trajkit.commands._common import emit, json_option, progress


@click.command("check")
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="PATH...")
@click.option("--no-decode", is_flag=True, help="Skip decoding every picture and depth map.")
@click.option("--workers", type=click.IntRange(1), default=1, show_default=True, metavar="N", help="Worker processes.")
@json_option
def command(paths: tuple[Path, ...], no_decode: bool, workers: int, as_json: bool) -> int:
    """Check clip folders, folders of shards, or single tars.

    \b
    trajkit check shards --workers 2

    Looks at structure (members, strays, half-written files), checksums and offsets, JSON schema, SE(3), lens and
    picture size, pose and frame counts, times against the frame rate, captions, unsafe tar members, and decodes every
    frame. Prints one line for each finding. Exit code 1: there is at least one error; warnings alone give 0.
    """
    parts = progress(check(paths, decode=not no_decode, workers=workers), total=None, unit="parts")
    whole = summary(parts)
    levels = Counter(finding.level for finding in whole.findings)
    counts = {
        "clips": len(whole.keys),
        "frames": whole.frames,
        "errors": levels["error"],
        "warnings": levels["warning"],
    }
    rows = [(finding.level, finding.code, f"{finding.where}: {finding.message}") for finding in whole.findings]
    width = max((len(code) for _, code, _ in rows), default=0)
    lines = [f"{level:7}  {code:{width}}  {text}" for level, code, text in rows]
    total = ", ".join(f"{count} {name}" for name, count in counts.items())
    emit({**counts, "findings": [asdict(finding) for finding in whole.findings]}, as_json, [*lines, total])
    return 1 if levels["error"] else 0
