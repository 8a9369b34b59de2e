"""OpenVid-1M: its table of captions and scores, its videos in folders or in the published zip archives.

The archives stay as they were downloaded: nothing is unpacked, and split ones need no joining.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from trajkit.errors import TrajkitError
from trajkit.options import option
from trajkit.scene import Rejected

from .. import archives, table
from ..footage import Footage
from ._footage import MAX_CAPTION, OnDisk, files_under, is_video, key_of, rejected, text_of

TABLES = ("OpenVid-1M.csv", "OpenVidHD.csv")  # the second one's rows are all in the first
FOLDERS = 3  # deep, at most: video/, or OpenVidHD/part_1/video/
LICENCE = (
    "OpenVid-1M: CC BY 4.0. The videos' own terms apply: most are from Panda-70M (non-commercial research only), "
    "others from ChronoMagic, Open-Sora-Plan and CelebV-HQ"
)
CELEBV = "OpenVid-1M: CC BY 4.0. The video's own terms apply: CelebV-HQ, non-commercial research only"
PLACE = {"_name": pl.String, "_place": pl.Int32}
MEMBER = {"_offset": pl.Int64, "_packed": pl.Int64, "_size": pl.Int64, "_crc": pl.Int64, "_method": pl.Int32}


@dataclass(frozen=True, kw_only=True)
class Options:
    """Which rows of the table to take."""

    where: str = option("", 'rows to take, such as "seconds >= 4 and aesthetic_score > 5"')
    limit: int | None = option(None, "rows to take at most, from the top", low=1)
    table: str = option("", "the table, a file under the root (default: OpenVid-1M.csv, OpenVidHD.csv or the only one)")


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Holdings:
    """What folders and archives hold."""

    index: pl.DataFrame  # a row per name: where it is, and how many different videos have it
    places: list[str | archives.Archive]  # a folder relative to the root, such as "video/", or an archive
    damaged: dict[str, str]  # archive -> what is wrong with it
    lost: dict[str, str]  # name of a video -> the damaged archive that held it


def footage(root: Path, options: Options) -> Iterator[Footage | Rejected]:
    """The selected rows of the table, in its order: each one as Footage, or Rejected.

    Codes: `missing` (in no folder or archive), `damaged-archive` (it was in one that is truncated), `duplicate-name`
    (an earlier row has it, or different videos do), `no-name`, `long-caption`. Raises TrajkitError for a root or
    table that is none, and for a wrong condition, at once; for a table that turns out broken further down, there.
    """
    path = _table_path(root, options)
    rows = table.selected(table.open_table(path), options.where)
    if options.limit is not None:
        rows = rows.head(options.limit)
    return _items(root, path, rows, _holdings(root))


def unlisted(root: Path, options: Options) -> list[str]:
    """Videos in folders and archives, such as "OpenVid_part3.zip/abc.mp4", that the table names nowhere; sorted."""
    path, held = _table_path(root, options), _holdings(root)
    named = _named(table.open_table(path)).select("_name")
    left = held.index.lazy().join(named, on="_name", how="anti").select("_name", "_place")
    return sorted(_label(held, *row) for batch in table.batches(left, path) for row in batch.iter_rows())


def _table_path(root: Path, options: Options) -> Path:
    if not root.is_dir():
        raise TrajkitError(root, "no folder", "name the folder with OpenVid's table and videos")
    if options.table:
        return root / options.table
    found = sorted(name for name in files_under(root, 2) if name.lower().endswith(".csv"))
    for wanted in TABLES:
        found = [name for name in found if Path(name).name == wanted] or found
        if len(found) == 1:
            return root / found[0]
    if not found:
        raise TrajkitError(root, "holds no table", "put OpenVid-1M.csv beside the videos, or name one by table=FILE")
    raise TrajkitError(root, f"holds {len(found)} tables ({', '.join(found)[:200]})", "name one by table=FILE")


def _holdings(root: Path) -> Holdings:
    """Walks the folders and reads the directory of each archive, once. Files come before members of the same name."""
    paths = list(files_under(root, FOLDERS))
    folders: dict[str, list[str]] = {}
    for path in paths:
        folder, slash, name = path.rpartition("/")
        if is_video(name):
            folders.setdefault(folder + slash, []).append(text_of(name))
    places: list[str | archives.Archive] = list(folders)
    schema = PLACE | MEMBER
    frames = [pl.DataFrame(schema=schema)]
    for place, names in enumerate(folders.values()):
        frames.append(pl.DataFrame({"_name": names}).with_columns(pl.lit(place, pl.Int32).alias("_place")))
    damaged: dict[str, str] = {}
    lost: dict[str, str] = {}
    for archive in archives.find(root, paths):
        try:
            members = [member for member in archives.members(archive) if is_video(member.name)]
        except TrajkitError as error:
            damaged[archive.name] = f"{error.problem}; {error.remedy}"
            lost |= dict.fromkeys(archives.names_in_damaged(archive), archive.name)
            continue
        columns = {name: [getattr(member, name[1:]) for member in members] for name in ("_name", *MEMBER)}
        frames.append(pl.DataFrame(columns | {"_place": [len(places)] * len(members)}, schema=schema))
        places.append(archive)
    # The same name twice is one video where size and checksum agree, or where it was unpacked beside its archive.
    rivals = pl.struct("_size", "_crc", pl.when(pl.col("_crc").is_null()).then("_place"))
    rivals = rivals.filter(pl.col("_crc").is_null() == pl.col("_crc").is_null().first())
    every = pl.concat(frames, how="diagonal")
    index = every.group_by("_name", maintain_order=True).agg(pl.all().first(), rivals.n_unique().alias("_videos"))
    return Holdings(index=index, places=places, damaged=damaged, lost=lost)


def _named(rows: pl.LazyFrame) -> pl.LazyFrame:
    return rows.with_columns(pl.col("video").str.replace(r"^.*[/\\]", "").alias("_name"))


def _items(root: Path, path: Path, rows: pl.LazyFrame, held: Holdings) -> Iterator[Footage | Rejected]:
    joined = _named(rows).join(held.index.lazy(), on="_name", how="left", maintain_order="left")
    seen: set[str] = set()
    for batch in table.batches(joined, path):
        for row in batch.iter_rows(named=True):
            if any(value is not None for name, value in row.items() if name[0] != "_"):  # no empty line
                yield _item(root, path, row, held, seen)


def _item(root: Path, path: Path, row: Mapping[str, Any], held: Holdings, seen: set[str]) -> Footage | Rejected:
    name, caption, number = row["_name"] or "", row.get("caption") or "", row[table.ROW]
    where, repeated = f"{path.name}, row {number}", name in seen
    seen.add(name)
    key = key_of(name, number) if repeated or not name else key_of(name)
    problem = _problem(name, held, row, repeated=repeated)
    if problem:
        return rejected(key, problem[0], where, problem[1])
    if len(caption) > MAX_CAPTION:
        return rejected(key, "long-caption", where, f"a caption of {len(caption)} characters; check the table's quotes")
    place = held.places[row["_place"]]
    if isinstance(place, archives.Archive):
        opener: OnDisk | archives.Member = archives.Member(
            archive=place, name=name, **{column[1:]: row[column] for column in MEMBER}
        )
    else:
        opener = OnDisk(path=root / (place + name))
    return Footage(
        key=key,
        name=name,
        open=opener,
        source=f"openvid:{_label(held, name, row['_place'])}",
        licence=CELEBV if name.startswith("celebv_") else LICENCE,
        caption=caption,
        columns={column: value for column, value in row.items() if column[0] != "_" and column not in table.TEXTS},
    )


def _problem(name: str, held: Holdings, row: Mapping[str, Any], *, repeated: bool) -> tuple[str, str] | None:
    """Code and message of what keeps a row from being footage."""
    if not name:
        return "no-name", "names no video"
    if repeated:
        return "duplicate-name", f"{name}: an earlier row names it too"
    if row["_place"] is None and name in held.lost:
        archive = held.lost[name]
        return "damaged-archive", f"{name} is in {archive}: {held.damaged[archive]}"
    if row["_place"] is None:
        others = f"; it may be in {', '.join(held.damaged)[:200]}, damaged: download again" if held.damaged else ""
        return "missing", f"{name[:100]} is in no folder or archive{others}"
    if row["_videos"] > 1:
        return "duplicate-name", f"{row['_videos']} different videos are called {name}; remove all but one"
    return None


def _label(held: Holdings, name: str, place: int) -> str:
    """A video's place for people, relative to the root."""
    where = held.places[place]
    return (f"{where.name}/" if isinstance(where, archives.Archive) else where) + name
