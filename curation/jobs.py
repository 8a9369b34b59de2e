"""Jobs for external generators: `plan` writes a folder per clip, `run` drives their program, `collect` takes it back.

JOBS/<key>/ holds the plan (see `_jobs_record`), then log.txt, gen.mp4 and made.json; JOBS/jobs.json lists the jobs.
What is run comes from the options alone: nothing in JOBS names a program, a module or a path. Generators are plugins
of the kind `attach` that define KIND, GENERATOR, LICENCE, Options and

- write_job(folder, job, options) -> names of the files it wrote; raises TrajkitError for what the model cannot take;
- command(folder, options) -> the arguments, the program first; output(folder) -> the video, under folder/making;
- versions(options) -> what made the pictures, without paths;

and may define planned(trajectory) (the path in the unit that the model takes it), made_size(width, height, options),
check(options) (before anything is run), place(options) (the folder to run in, also on PYTHONPATH), COST (a sentence).
"""

import contextlib
import os
import shutil
import threading
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from queue import SimpleQueue
from types import ModuleType
from typing import Annotated, Any, Final, Literal

from annotated_types import Gt

from trajkit import files, plugins
from trajkit.clip import Clip
from trajkit.errors import TrajkitError
from trajkit.members import STRICT, Hex, Key, from_json
from trajkit.options import as_dict
from trajkit.scene import Rejected
from trajkit.trajectory import Trajectory

from ._jobs_process import run_command
from ._jobs_record import Job, Planned, read_job, rejected, text, write_common, write_record
from ._jobs_take import checked, collected, made_size

__all__ = ["Job", "Made", "collect", "generator", "plan", "run"]

INDEX, VIDEO, MADE, LOG, MAKING = "jobs.json", "gen.mp4", "made.json", "log.txt", "making"
INDEX_SCHEMA: Final = "trajkit.jobs/1"
MADE_SCHEMA: Final = "trajkit.made/1"
MAX_INDEX_BYTES = 1 << 29  # three million jobs
AHEAD = 4  # finished jobs held back per worker while an earlier one still runs
TIMEOUT_S = 7200.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Made:
    """A video that lies in its job's folder, whole and of the planned length and size."""

    key: str
    video: Path
    kept: bool  # it was there already


@dataclass(frozen=True, kw_only=True, slots=True)
class Index:
    """The content of jobs.json."""

    __pydantic_config__ = STRICT

    schema: Literal["trajkit.jobs/1"]
    backend: str
    generator: str
    licence: str  # the generator's terms
    jobs: dict[Key, Hex]  # digest of each job.json


@dataclass(frozen=True, kw_only=True, slots=True)
class MadeRecord:
    """The content of made.json."""

    __pydantic_config__ = STRICT

    schema: Literal["trajkit.made/1"]
    job: Hex  # digest of the job.json that it was made from
    video: Hex
    fps: Annotated[float, Gt(0)]
    versions: dict[str, str]  # of the generator, and the options that shape what it makes


def generator(backend: str, options: Any) -> ModuleType:
    """The adapter. Raises TrajkitError, in one line with the terms, where these must be accepted and are not."""
    module = plugins.load("attach", backend)
    if not hasattr(module, "write_job"):
        raise TrajkitError(f"--with {backend}", "makes clips itself, without jobs", "run it without --plan")
    if getattr(options, "accept_licence", True) is not True:
        remedy = f"if they allow what you do: --with {backend}:accept_licence=true"
        raise TrajkitError(f"--with {backend}", f"its terms are not accepted: {module.LICENCE}", remedy)
    return module


def plan(jobs: Iterable[Job | Rejected], backend: str, options: Any, folder: Path) -> Iterator[Job | Rejected]:
    """Writes a job folder for each job, yielding it as it was planned, or the reason why it cannot be one.

    The index appears when the last one is written; until then, and after a kill, nothing can be run.
    Raises TrajkitError, before anything is written, for terms that are not accepted.
    """
    return _plan(jobs, backend, generator(backend, options), options, folder)


def _plan(
    jobs: Iterable[Job | Rejected], backend: str, module: ModuleType, options: Any, folder: Path
) -> Iterator[Job | Rejected]:
    written: dict[str, str] = {}
    with files.locked(folder):
        (folder / INDEX).unlink(missing_ok=True)
        for job in jobs:
            if isinstance(job, Job):
                try:
                    if job.key in written:
                        raise TrajkitError(f"job {job.key}", "a second job of this key", "give each its own")
                    job = replace(job, trajectory=_planned(module, job))
                    written[job.key] = _write(folder, job, module, options)
                except TrajkitError as error:
                    yield rejected(job.key, "no-job", error)
                    continue
            yield job
        index = Index(
            schema=INDEX_SCHEMA, backend=backend, generator=module.GENERATOR, licence=module.LICENCE, jobs=written
        )
        files.write_bytes(folder / INDEX, files.json_bytes(asdict(index)))


def _planned(module: ModuleType, job: Job) -> Trajectory:
    start = job.trajectory.relative_to(0)
    taken: Trajectory = module.planned(start) if hasattr(module, "planned") else start
    return taken


def _write(root: Path, job: Job, module: ModuleType, options: Any) -> str:
    """Writes the job's folder; returns the digest of its job.json. Raises TrajkitError for what cannot be a job."""
    folder = files.inside(root, job.key)
    write_common(folder, job)
    return write_record(folder, job, module.write_job(folder, job, options))


def read_index(folder: Path, backend: str) -> dict[str, str]:
    """Digests of the planned jobs by key. Raises TrajkitError where the plan is not whole, or for another generator."""
    path = folder / INDEX
    if not path.is_file():
        raise TrajkitError(path, "no such file: nothing is planned here, or not to its end", "run --plan again")
    index = from_json(Index, files.read_bytes(path, limit=MAX_INDEX_BYTES), path, limit=MAX_INDEX_BYTES)
    if index.backend != backend:
        raise TrajkitError(path, f"is planned for {index.backend}, not {backend}", f"use --with {index.backend}")
    jobs: dict[str, str] = index.jobs
    return jobs


def run(
    folder: Path,
    backend: str,
    options: Any,
    *,
    limit: int | None = None,
    workers: int = 1,
    gpus: Sequence[str] = (),
    timeout_s: float = TIMEOUT_S,
) -> Iterator[Made | Rejected]:
    """Makes the videos that are not there yet, at most `limit` of them, yielding each in the order of the keys.

    `gpus` has what each worker sees as CUDA_VISIBLE_DEVICES, such as ("0,1", "2,3"), and replaces `workers`.
    A video is taken when their program ends without error and every planned frame of it decodes; what is taken stays.
    Raises TrajkitError, before anything is run, for terms, an unfinished plan, or a program that is not there.
    """
    module, folder = generator(backend, options), folder.resolve()
    jobs = read_index(folder, backend)
    if hasattr(module, "check"):
        module.check(options)
    _check_program(folder, jobs, module, options)
    runner = _Runner(folder, module, options, timeout_s, threading.Event())
    return _run(runner, jobs, limit, gpus or [None] * workers)


def _check_program(folder: Path, jobs: dict[str, str], module: ModuleType, options: Any) -> None:
    """Raises TrajkitError where the program of the first job that can be read is not there."""
    for key, digest in jobs.items():
        with contextlib.suppress(TrajkitError):
            command = module.command(read_job(folder, key, digest).folder, options)
            break
    else:
        return
    _resolved(command, module)


def _resolved(command: list[str], module: ModuleType) -> list[str]:
    """The command with its program's absolute path, since it runs in another folder. Raises TrajkitError for none."""
    program = shutil.which(command[0])
    if not program:
        remedy = f"install {module.GENERATOR}, or say where it is (trajkit plugins attach)"
        raise TrajkitError(command[0], "no such program", remedy)
    return [os.path.abspath(program), *command[1:]]


def _run(
    runner: "_Runner", jobs: dict[str, str], limit: int | None, gpus: Sequence[str | None]
) -> Iterator[Made | Rejected]:
    free: SimpleQueue[str | None] = SimpleQueue()
    for gpu in gpus:
        free.put(gpu)

    def make(key: str, digest: str) -> Made | Rejected:
        gpu = free.get()
        try:
            return runner.make(key, digest, gpu)
        finally:
            free.put(gpu)

    with files.locked(runner.root), ThreadPoolExecutor(len(gpus)) as pool:
        window: deque[Future[Made | Rejected]] = deque()
        begun = 0
        try:
            for key, digest in jobs.items():
                if begun == limit:
                    break
                kept = _kept(runner.root, key, digest)
                begun += kept is None
                window.append(_done(kept) if kept else pool.submit(make, key, digest))
                while window and (window[0].done() or len(window) >= AHEAD * len(gpus)):
                    yield window.popleft().result()
            while window:
                yield window.popleft().result()
        finally:
            runner.stop.set()
            pool.shutdown(cancel_futures=True)


def _done(made: Made) -> "Future[Made | Rejected]":
    future: Future[Made | Rejected] = Future()
    future.set_result(made)
    return future


def _kept(root: Path, key: str, digest: str) -> Made | None:
    """The job's video where it was made from this very plan and is still what it was."""
    try:
        folder = files.inside(root, key)
        record = read_made(folder, digest)
        return Made(key=key, video=folder / VIDEO, kept=True) if record else None
    except TrajkitError:
        return None


def read_made(folder: Path, digest: str) -> MadeRecord | None:
    """made.json; None where nothing was made from this plan. Raises TrajkitError where it or the video is damaged."""
    if not (folder / MADE).is_file():
        return None
    record: MadeRecord = from_json(MadeRecord, files.read_bytes(files.inside(folder, MADE)), folder / MADE)
    if record.job != digest:
        return None
    if not (folder / VIDEO).is_file() or files.sha256(files.inside(folder, VIDEO)) != record.video:
        raise TrajkitError(folder / VIDEO, "is not the video that was made", "run --run again")
    return record


@dataclass(frozen=True, slots=True)
class _Runner:
    """What all jobs of a run share."""

    root: Path
    module: ModuleType
    options: Any
    timeout_s: float
    stop: threading.Event  # set: their programs end

    def make(self, key: str, digest: str, gpu: str | None) -> Made | Rejected:
        """Runs their program for one job and takes its video."""
        try:
            job = read_job(self.root, key, digest)
        except TrajkitError as error:
            return rejected(key, "damaged-job", error)
        making = job.folder / MAKING
        (job.folder / MADE).unlink(missing_ok=True)
        _clear(making)
        making.mkdir()
        try:
            failure = self._run(job, gpu)
            if failure:
                raise TrajkitError(Path(key) / LOG, failure, "see that log, then run again")
            return Made(key=key, video=self._take(job, digest), kept=False)
        except TrajkitError as error:
            return rejected(key, "generator-failed", error)
        finally:
            _clear(making)

    def _run(self, job: Planned, gpu: str | None) -> str:
        """ "" or why it failed."""
        environment = {} if gpu is None else {"CUDA_VISIBLE_DEVICES": gpu}
        place = job.folder / MAKING
        if hasattr(self.module, "place"):
            place = self.module.place(self.options)
            environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(place), os.environ.get("PYTHONPATH")]))
        return run_command(
            _resolved(self.module.command(job.folder, self.options), self.module),
            job.folder / LOG,
            folder=place,
            environment=environment,
            timeout_s=self.timeout_s,
            stop=self.stop,
        )

    def _take(self, job: Planned, digest: str) -> Path:
        """Judges what the program wrote and moves it to its place, made.json last."""
        found = self.module.output(job.folder)
        if not found.is_file() or found.is_symlink():
            raise TrajkitError(found, "was not written, though the program ended without error", f"see {LOG} beside it")
        facts = checked(found, job.record, made_size(self.module, job.record, self.options))
        versions = self.module.versions(self.options) | text(shaping(self.module, self.options))
        record = MadeRecord(schema=MADE_SCHEMA, job=digest, video=files.sha256(found), fps=facts.fps, versions=versions)
        video = job.folder / VIDEO
        os.replace(found, video)
        files.sync_folder(job.folder)
        files.write_bytes(job.folder / MADE, files.json_bytes(asdict(record)))
        return video


def shaping(module: ModuleType, options: Any) -> dict[str, Any]:
    """The options that shape what is made: all but those that name places on this machine."""
    return {name: value for name, value in as_dict(options).items() if name not in getattr(module, "UNRECORDED", ())}


def _clear(folder: Path) -> None:
    if folder.is_symlink() or folder.is_file():
        folder.unlink()
    elif folder.exists():
        shutil.rmtree(folder)


def collect(folder: Path, backend: str, options: Any, out: Path) -> Iterator[Clip | Rejected]:
    """A clip in `out` for each video that was made, with the planned path; Rejected, with the reason, for the others.

    Raises TrajkitError, before anything is written, for terms, or a plan that is not whole.
    """
    module = generator(backend, options)
    if out.resolve() == folder.resolve():
        raise TrajkitError(out, "holds the jobs", "give --out a folder of its own")
    return _collect(folder, read_index(folder, backend), module, options, out)


def _collect(
    folder: Path, jobs: dict[str, str], module: ModuleType, options: Any, out: Path
) -> Iterator[Clip | Rejected]:
    with files.locked(out):
        for key, digest in jobs.items():
            try:
                job = read_job(folder, key, digest)
                made = read_made(job.folder, digest)
                if made is None:
                    raise TrajkitError(Path(key) / VIDEO, "was not made", f"run --run; {Path(key) / LOG} says more")
            except TrajkitError as error:
                yield rejected(key, "not-made", error)
            else:
                yield collected(job, job.folder / VIDEO, module, options, out, made.versions)
