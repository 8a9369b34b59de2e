"""Adds a latent file to every clip: clips in, shards with latents out, same keys, all other members kept.

Each clip's file is made on its own and kept under `encoding-<plan>/` until its shard is written, so a kill costs one
clip. What a clip's file holds depends on nothing but the clip and the maker, so a rerun ends with the same bytes.
"""

import hashlib
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Protocol

from trajkit import __version__, files, video
from trajkit.clip import assemble
from trajkit.errors import TrajkitError
from trajkit.latents import latent_count, latent_poses
from trajkit.ledger import Ledger, Row
from trajkit.members import REQUIRED, record_from_bytes
from trajkit.pack import claim, kept
from trajkit.shard_plan import Plan, make_plan, shard_path
from trajkit.shards import Index, Source, write_shard

from . import latentfile
from .encoders import Encoding, Settings
from .stored import Stored, ahead, find


class Maker(Protocol):
    """Makes latent files: `prepare` in threads, several clips ahead; `finish` here, one clip after the other."""

    stage: str  # of the ledger's rows
    identity: Mapping[str, Any]  # all that shapes the files, apart from the clip
    needs: Collection[str]  # suffixes of the members that `prepare` is given

    def start(self) -> None:
        """Called once, when there is something to make: the time to take GPU memory."""

    def prepare(self, where: str, contents: Mapping[str, bytes]) -> Any:
        """What `finish` needs. Raises TrajkitError for a clip that cannot be used."""

    def finish(self, where: str, prepared: Any) -> bytes:
        """The latent file. Raises TrajkitError for a clip that cannot be used."""


class Encode:
    """The maker of `trajkit encode`."""

    stage: str = "encode"
    needs: Collection[str] = REQUIRED

    def __init__(self, encoder: Encoding, settings: Settings, device: str) -> None:
        self.encoder, self.device = encoder, device
        told = {name: value for name, value in asdict(settings).items() if name != "source"}
        self.identity: Mapping[str, Any] = {"encoder": encoder.id, **told}

    def start(self) -> None:
        """Moves the networks to their device."""
        self.encoder.to(self.device)

    def prepare(self, where: str, contents: Mapping[str, bytes]) -> Any:
        """The clip, the digest of its video, and the pictures that the encoder takes."""
        content, record = hashlib.sha256(contents["mp4"]).hexdigest(), record_from_bytes(contents["json"], where)
        depth = {"depth.npz": b""} if record.depth else {}  # there, but not read
        clip = assemble(record.key, {**contents, **depth}, where)
        if record.sha256.get("mp4", content) != content:
            raise TrajkitError(f"{where}.mp4", "is not what its json says", "restore it or make the clip again")
        latent_poses(clip.trajectory.frame_index, clip.frames)
        pictures = video.read(contents["mp4"], self.encoder.frames(clip.frames))
        if pictures.shape[1:3] != (clip.trajectory.height, clip.trajectory.width):
            raise TrajkitError(f"{where}.mp4", f"pictures of shape {pictures.shape[1:3]}", "make the clip again")
        return clip, content, pictures

    def finish(self, where: str, prepared: Any) -> bytes:
        """The latents and the text of one clip."""
        clip, content, pictures = prepared
        latents, text = self.encoder.latents(pictures), self.encoder.text(clip.caption, pictures[0])
        told = {"encoder": self.encoder.id, "frames": clip.frames, "content": content}
        return latentfile.to_bytes(latents, text, **told, where=f"{where}.{latentfile.SUFFIX}")


def survey(sources: Sequence[Path], only: Collection[str] | None, multiple: int = 1) -> list[Source]:
    """The clips as packing knows them. Raises TrajkitError for the first one of 4n frames, or whose size does not fit.

    The sides of its pictures must be multiples of `multiple`. Only the json of each clip is read.
    """
    return [_source(clip, multiple) for clip in find(sources, only)]


def _source(clip: Stored, multiple: int) -> Source:
    absent = set(REQUIRED) - {suffix for suffix, _, _ in clip.members}
    if absent:
        raise TrajkitError(f"{clip.where}.{min(absent)}", "no such file", "make the clip again")
    content = clip.read(["json"])["json"]
    record = record_from_bytes(content, f"{clip.where}.json")
    if record.key != clip.key:
        raise TrajkitError(f"{clip.where}.json", f"is the json of clip {record.key}", "rename the clip's files back")
    try:
        latent_count(record.frames)
    except TrajkitError as error:
        raise TrajkitError(clip.where, f"{record.frames} frames: {error.problem}", error.remedy) from None
    if record.width % multiple or record.height % multiple:
        problem = f"pictures of {record.width}x{record.height}, the encoder takes multiples of {multiple}"
        raise TrajkitError(clip.where, problem, "render or import it in another size, or leave it out with --keys")
    sizes = tuple((suffix, size) for suffix, _, size in clip.members)
    elsewhere = tuple((suffix, clip.home, start) for suffix, start, _ in clip.members) if clip.tar_bytes else ()
    digest = hashlib.sha256(content).hexdigest()
    return Source(clip.key, clip.home, sizes, record.frames, digest, elsewhere)


def plan_of(sources: Sequence[Source], identity: Mapping[str, Any], **limits: int) -> Plan:
    """Which clip goes to which shard, as `trajkit pack` has it; its digest also stands for what makes the latents."""
    plan = make_plan(sources, **limits)
    told = f"{plan.record.plan} {latentfile.SCHEMA} {json.dumps(identity, sort_keys=True)}"
    return replace(plan, record=replace(plan.record, plan=hashlib.sha256(told.encode()).hexdigest()))


def encode(plan: Plan, out: Path, maker: Maker, *, workers: int = 0) -> Iterator[tuple[Index, list[Row]]]:
    """The finished shards in their order, each with the ledger's rows of the clips that were left out of it now.

    Shards that are done are kept. A clip that cannot be used is left out, with its reason in the ledger.
    """
    with files.locked(out):
        claim(out, plan)
        staging = out / f"encoding-{plan.record.plan[:16]}"
        started = False
        for number, shard in enumerate(plan.shards):
            index = kept(out, number, plan.record)
            if index is not None:
                _clear(staging, shard)
                yield index, []
                continue
            if not started:
                maker.start()
                started = True
            rows = _make(shard, number, staging, maker, workers)
            Ledger(out).append(f"{maker.stage}-{number:06d}", rows)
            good = [_with_latents(one, staging) for one in shard if _staged(staging, one.key).is_file()]
            path, total = shard_path(out, number), plan.record.shards
            index = write_shard(path, good, plan=plan.record.plan, shard=number, shards=total)
            _clear(staging, shard)
            yield index, [row for row in rows if row.state == "rejected"]
        if staging.is_dir():
            files.remove_parts(staging, "")
            staging.rmdir()


def _make(shard: Sequence[Source], number: int, staging: Path, maker: Maker, workers: int) -> list[Row]:
    """The ledger's rows of a shard, in its order, once all its latent files are there that can be made."""
    todo = [_stored(source) for source in shard if not _staged(staging, source.key).is_file()]
    failed: dict[str, TrajkitError] = {}
    prepare = lambda clip: maker.prepare(clip.where, clip.read(maker.needs))  # noqa: E731
    with closing(ahead(prepare, todo, workers)) as prepared:
        for clip, ready in zip(todo, prepared, strict=True):
            try:
                if isinstance(ready, TrajkitError):
                    raise ready
                files.write_bytes(_staged(staging, clip.key), maker.finish(clip.where, ready))
            except TrajkitError as error:
                failed[clip.key] = error
    return [_row(source.key, number, maker, failed.get(source.key)) for source in shard]


def _stored(source: Source) -> Stored:
    members = tuple((suffix, source.place(suffix)[1], size) for suffix, size in source.sizes)
    return Stored(source.key, source.folder, members, source.folder.stat().st_size if source.elsewhere else 0)


def _row(key: str, number: int, maker: Maker, error: TrajkitError | None) -> Row:
    shared: dict[str, Any] = {"key": key, "stage": maker.stage, "versions": {"trajkit": __version__}}
    if error is not None:
        return Row(state="rejected", reason=f"{error.problem}; {error.remedy}", **shared)
    return Row(state="encoded", values={"shard": number}, **shared)


def _staged(staging: Path, key: str) -> Path:
    return staging / f"{key}.{latentfile.SUFFIX}"


def _with_latents(source: Source, staging: Path) -> Source:
    """The clip with its new latent file among its members, in place of one that it had."""
    path = _staged(staging, source.key)
    sizes = {**dict(source.sizes), latentfile.SUFFIX: path.stat().st_size}
    others = tuple(one for one in source.elsewhere if one[0] != latentfile.SUFFIX)
    return source._replace(sizes=tuple(sorted(sizes.items())), elsewhere=(*others, (latentfile.SUFFIX, path, 0)))


def _clear(staging: Path, shard: Sequence[Source]) -> None:
    """Removes the files of a shard that is written."""
    for source in shard if staging.is_dir() else ():
        _staged(staging, source.key).unlink(missing_ok=True)
