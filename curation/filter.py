"""The filter stage: rules over what the ledger says of scored clips -> a state for each clip. Nothing is deleted.

Only ledger rows of stage "score" are read, a clip's newest attempt alone. What is known of a clip is the union of its
verdict (key, state, probability, low, high, reason), the facts beside it (motion, licence, fps, ...), and its metrics:
`sampson` or `sampson.value` is that metric's value, `sampson.p90_8` one of its further numbers.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import polars as pl

from trajkit import __version__, files
from trajkit.errors import TrajkitError, nearest
from trajkit.ledger import FOLDER as LEDGER
from trajkit.ledger import Ledger, Row
from trajkit.score import STATES

from .rules import Rule, compiled

FOLDER = "filter"  # under OUT: a list of keys for each state, and the rules
UNIT = "filter-rules"
VERDICTS = ("poses", "readable")  # metrics of the row that holds a clip's verdict
OWN = {"key": pl.String, "state": pl.String, "reason": pl.String, "probability": pl.Float64}
ENDS = ("low", "high")  # numbers even where no clip has them
LEVELS = {"accept": 0, "undetermined": 1, "reject": 2, "require": 2}
SAMPLE = 200  # rows whose value names are offered for one that is unknown


@dataclass(frozen=True, kw_only=True, eq=False)
class Scored:
    """The newest score rows of some ledgers. `clips` has key, state, reason, probability and values (JSON), by key."""

    where: str
    clips: pl.DataFrame
    rows: pl.LazyFrame

    @cached_property
    def metrics(self) -> list[str]:
        """Names of the metrics that any clip has."""
        return [str(name) for name in collect(self.rows.select("metric").unique(), self.where)["metric"].sort()]

    def table(self, names: Iterable[str]) -> pl.DataFrame:
        """`key` and a column for each name, null where a clip has no such value.

        Raises TrajkitError for a name that no clip has.
        """
        wanted = [name for name in dict.fromkeys(names) if name != "key"]
        facts, known = self.facts(wanted)
        table = self.clips.select("key")
        for name in wanted:
            if name in OWN:
                column = self.clips[name]
            else:
                column = self._fact(name, facts[name]) if name in known else self._measured(name)
            table = table.with_columns(column.alias(name))
        return table

    def facts(self, names: Iterable[str] = ()) -> tuple[dict[str, list[Any]], set[str]]:
        """What stands beside the verdicts under these names, in the order of `clips`; and all names that are there."""
        found: dict[str, list[Any]] = {name: [] for name in names}
        known = set(ENDS)
        for text in self.clips["values"]:
            one = _object(text, self.where)
            known.update(name for name, value in one.items() if name not in known and _is_plain(value))
            for name, column in found.items():
                value = one.get(name)
                column.append(value if _is_plain(value) else None)
        return found, known

    def _fact(self, name: str, values: list[Any]) -> pl.Series:
        kinds = {bool: pl.Boolean, str: pl.String}
        types = {kinds.get(type(value), pl.Float64) for value in values if value is not None} or {pl.Float64}
        if len(types) > 1:
            problem = f"{name} is of one kind in some clips and of another in others"
            raise TrajkitError(self.where, problem, "score all clips with one version of trajkit")
        dtype = types.pop()
        if dtype == pl.Float64:
            values = [None if value is None else float(value) for value in values]
        return pl.Series(name, values, dtype=dtype)

    def _measured(self, name: str) -> pl.Series:
        metric, _, part = name.partition(".")
        if metric not in self.metrics:
            raise TrajkitError(f"name {name!r}", "no clip has such a value", self.remedy(name))
        value = pl.col("value") if part in ("", "value") else _inside(part)
        rows = self.rows.filter(pl.col("metric") == metric).select("key", value.alias("found"))
        found = collect(rows, self.where).unique("key", keep="last", maintain_order=True)
        column = self.clips.select("key").join(found, on="key", how="left", maintain_order="left")["found"]
        if part not in ("", "value") and column.is_null().all():
            raise TrajkitError(f"name {name!r}", "no clip has such a value", self.remedy(name))
        return column

    def remedy(self, name: str) -> str:
        """What to write instead of a name that no clip has."""
        metric, dot, _ = name.partition(".")
        if dot and metric in self.metrics:
            rows = self.rows.filter(pl.col("metric") == metric).select("values").head(SAMPLE)
            texts = collect(rows, self.where)["values"].to_list()
            inner = {f"{metric}.{key}" for text in texts for key in _object(text, self.where)}
            return nearest(name, sorted(inner | {metric}))
        return nearest(name, sorted({*OWN, *self.facts()[1], *self.metrics} - set(VERDICTS)))


def scored(folders: Sequence[Path]) -> Scored:
    """What the ledgers of the folders say about scored clips.

    Raises TrajkitError where a folder has no ledger or no scored clip, a part is damaged, or a clip is in two folders.
    """
    where = ", ".join(map(str, folders))
    parts, seen = [], pl.DataFrame(schema={"key": pl.String, "folder": pl.String})
    for folder in {folder.resolve(): folder for folder in folders}.values():
        rows = newest_rows(folder, "score")
        keys = collect(rows.select("key").unique(), folder)
        if not len(keys):
            raise TrajkitError(folder, "no scored clips in its ledger", "run trajkit score first")
        twice = keys.join(seen, on="key", how="inner").sort("key")
        if len(twice):
            problem = f"clip {twice['key'][0]} is also in {twice['folder'][0]}"
            raise TrajkitError(folder, problem, "give each clip once")
        seen = pl.concat([seen, keys.select("key", folder=pl.lit(str(folder)))])
        parts.append(rows)
    rows = pl.concat(parts)
    verdicts = rows.filter(pl.col("metric").is_in(VERDICTS)).select("key", "state", "reason", "value", "values")
    found = collect(verdicts, where).unique("key", keep="last", maintain_order=True).rename({"value": "probability"})
    clips = seen.select("key").join(found, on="key", how="left").sort("key")
    return Scored(where=where, clips=clips.with_columns(pl.col("values").fill_null("{}")), rows=rows)


def newest_rows(folder: Path, stage: str) -> pl.LazyFrame:
    """Ledger rows of one stage, of each key's newest attempt. Raises TrajkitError where there is no sound ledger."""
    if not folder.is_dir():
        raise TrajkitError(folder, "no such folder", "give folders that trajkit score wrote into")
    if not (folder / LEDGER).is_dir():
        raise TrajkitError(folder, "has no ledger", "give folders that trajkit score wrote into")
    rows = Ledger(folder).scan().filter(pl.col("stage") == stage)
    newest = collect(rows.group_by("key").agg(pl.col("attempt").max()), folder)
    return rows.join(newest.lazy(), on=["key", "attempt"], how="semi")


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Outcome:
    """What rules say. `clips` has key, state, first (number of the deciding rule, null if accepted), by key.

    `levels` has a column per rule: 0 lets the clip pass, 1 leaves it undetermined, 2 rejects it.
    """

    rules: tuple[Rule, ...]
    clips: pl.DataFrame
    levels: pl.DataFrame
    table: pl.DataFrame  # the names that the rules use

    @property
    def counts(self) -> dict[str, int]:
        """Clips of each state."""
        found = dict(self.clips["state"].value_counts().iter_rows())
        return {state: int(found.get(state, 0)) for state in STATES}

    def by_rule(self) -> list[dict[str, Any]]:
        """For each rule: clips that it removes as the first one to do so, rejects, and leaves undetermined."""
        first = dict(self.clips["first"].value_counts().iter_rows())
        return [
            {
                "rule": rule.name,
                "first": int(first.get(number, 0)),
                "rejected": int((self.levels[column] == 2).sum()),
                "undetermined": int((self.levels[column] == 1).sum()),
            }
            for number, (rule, column) in enumerate(zip(self.rules, self.levels.columns, strict=True))
        ]

    def keys(self, state: str) -> list[str]:
        """Keys of the clips in a state, sorted."""
        return self.clips.filter(pl.col("state") == state)["key"].to_list()


def judge(rules: Sequence[Rule], known: Scored) -> Outcome:
    """What the rules say of each clip: rejected if any rule rejects it, else undetermined if any leaves it so.

    Raises TrajkitError for a name that no clip has, or a comparison that does not fit its kind.
    """
    names = [name for rule in rules for name in rule.names]
    table = known.table(names)
    for rule in rules:
        compiled(rule, table.schema)  # what does not fit is found before anything is worked out
    columns = [_level(rule, table.schema).alias(str(number)) for number, rule in enumerate(rules)]
    levels = table.with_columns(columns).select(str(number) for number in range(len(rules)))
    worst = pl.max_horizontal(pl.all())
    first = pl.coalesce(
        pl.when((pl.col(str(number)) == worst) & (worst > 0)).then(pl.lit(number, dtype=pl.Int32))
        for number in range(len(rules))
    )
    names_of = {0: "accepted", 1: "undetermined", 2: "rejected"}
    state = worst.replace_strict(names_of, return_dtype=pl.String)
    clips = table.select("key").hstack(levels.select(state.alias("state"), first.alias("first")))
    return Outcome(rules=tuple(rules), clips=clips, levels=levels, table=table)


def _level(rule: Rule, types: Mapping[str, Any]) -> pl.Expr:
    met = compiled(rule, types)
    bad = ~met if rule.verb == "require" else met
    level = pl.when(bad.is_null()).then(LEVELS[rule.missing]).when(bad).then(LEVELS[rule.verb]).otherwise(0)
    return level.cast(pl.Int32)


def rows_of(outcome: Outcome, versions: Mapping[str, str]) -> list[Row]:
    """The ledger's rows: one for an accepted clip, else one for each rule against it, the deciding one first."""
    levels = list(zip(*(outcome.levels[name].to_list() for name in outcome.levels.columns), strict=True))
    values = {name: outcome.table[name].to_list() for name in outcome.table.columns}
    found = []
    for number, (key, state) in enumerate(outcome.clips.select("key", "state").iter_rows()):
        against = sorted((-level, place) for place, level in enumerate(levels[number]) if level)
        if not against:
            found.append(Row(key=key, stage="filter", state=state, versions=versions))
        for _, place in against:
            rule = outcome.rules[place]
            name, threshold = rule.simple or ("", None)
            found.append(
                Row(
                    key=key,
                    stage="filter",
                    state=state,
                    metric=rule.name,
                    value=values[name][number] if name else None,
                    threshold=threshold,
                    reason=_reason(rule, {one: values[one][number] for one in rule.names}),
                    versions=versions,
                )
            )
    return found


def _reason(rule: Rule, values: Mapping[str, Any]) -> str:
    unknown = [name for name, value in values.items() if value is None]
    known = [f"{name} {_short(value)}" for name, value in values.items() if value is not None]
    told = [f"{rule.verb} {rule.condition}", ", ".join(known), f"no {', no '.join(unknown)}" if unknown else ""]
    return "; ".join(one for one in told if one)


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def write(outcome: Outcome, out: Path, rules: Path) -> None:
    """Writes OUT/filter/<state>.txt (keys, one a line), OUT/filter/rules.toml, and the ledger's rows, these last."""
    with files.locked(out):
        content = files.read_bytes(rules)
        for state in STATES:
            files.write_bytes(
                out / FOLDER / f"{state}.txt", "".join(f"{key}\n" for key in outcome.keys(state)).encode()
            )
        files.write_bytes(out / FOLDER / "rules.toml", content)
        versions = {"trajkit": __version__, "rules": files.sha256(out / FOLDER / "rules.toml")}
        Ledger(out).append(UNIT, rows_of(outcome, versions))


def _inside(part: str) -> pl.Expr:
    """A number inside the JSON of `values`."""
    quoted = part.replace("\\", "\\\\").replace("'", "\\'")
    return pl.col("values").str.json_path_match(f"$['{quoted}']").cast(pl.Float64, strict=False)


def _is_plain(value: object) -> bool:
    return isinstance(value, bool | int | float | str)


def _object(text: str, where: object) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError as error:
        raise TrajkitError(where, f"a ledger row holds no JSON ({error})", "run trajkit score again") from None
    if not isinstance(value, dict):
        raise TrajkitError(where, "the values of a ledger row are no object", "run trajkit score again")
    return value


def collect(rows: pl.LazyFrame, where: object) -> pl.DataFrame:
    """The rows of a ledger. Raises TrajkitError where a part turns out damaged only now."""
    try:
        return rows.collect()
    except (pl.exceptions.PolarsError, OSError) as error:
        reason = str(error).split("\n")[0]
        raise TrajkitError(where, f"damaged ledger part ({reason})", "remove it and run its stage again") from None
