"""What `trajkit train` settles and checks before it takes memory: options, checkpoints, clips, the run's own past."""

import importlib.metadata
import json
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trajkit import files, options, plugins
from trajkit.errors import TrajkitError, nearest

from . import checkpoint, flow, ode_pairs
from .backbones import Conditioning
from .card import NAME, Card, StageName, expect, read_card
from .data import Facts
from .roles import Options, flag_of, with_average

DEFAULTS = Path(__file__).parent / "defaults"
SECTIONS = ("loop", "stage")
RECORD = "train.toml"
FREE = {"steps", "micro", "checkpointing", "deterministic", "save_every", "keep", "log_every"}  # may change on resume
ROLE_ORDER = ("average", "target", "student")  # which weights of a run a flag means: its average if it has one
FEW_STEPS = ("ode", "consistency", "dmd")
# stage -> flag -> the stages that its checkpoint may have gone through last
STARTS: dict[str, dict[str, tuple[StageName, ...]]] = {
    "finetune": {"start": ("none", "finetune")},
    "causal": {"start": ("finetune", "causal")},
    "ode": {"start": ("causal", "ode")},
    "consistency": {"start": ("causal", "ode", "consistency"), "teacher": ("causal",)},
    "dmd": {"start": ("ode", "consistency", "dmd"), "teacher": ("finetune",), "critic": ("finetune",)},
}

Table = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class Start:
    """A checkpoint that a flag names; `card` is None where it has none, and so cannot be checked."""

    flag: str
    source: str
    card: Card | None


def settle(stage: str, backbone: str, config: Path | None, assigned: Iterable[str]) -> tuple[Options, Any]:
    """Options of the loop and of the stage: the backbone's defaults, under `config`, under --set section.key=value.

    Raises TrajkitError for an unknown section, key or value, naming where it stands.
    """
    classes = {"loop": Options, "stage": plugins.load("stages", stage).Options}
    own = DEFAULTS / f"{backbone}.toml"
    layers: list[tuple[str, Table]] = []
    if own.is_file():
        layers.append((own.name, read_toml(own).get(stage, {})))
    if config is not None:
        layers.append((str(config), {name: read_toml(config).get(name, {}) for name in SECTIONS}))
    layers.append(("--set", _sections(assigned, classes)))
    merged: dict[str, dict[str, Any]] = {name: {} for name in SECTIONS}
    unknown = [] if config is None else sorted({*read_toml(config)} - {"train", *SECTIONS})
    if unknown:
        remedy = f"use {' or '.join(SECTIONS)}"
        raise TrajkitError(config, f"{unknown[0]} is no section of options", remedy)
    for where, table in layers:
        for section, values in table.items():
            if section not in SECTIONS or not isinstance(values, dict):
                raise TrajkitError(where, f"{section} is no table of options", f"use {' or '.join(SECTIONS)}")
            options.build(classes[section], values, where=f"{where}: {section}")
            merged[section] |= {key.replace("-", "_"): value for key, value in values.items()}
    loop, own_options = (options.build(classes[name], merged[name], where=name) for name in SECTIONS)
    return loop, own_options


def _sections(assigned: Iterable[str], classes: Mapping[str, type]) -> dict[str, dict[str, str]]:
    """loop.lr=1e-4 as {"loop": {"lr": "1e-4"}}."""
    known = [f"{section}.{key}" for section, cls in classes.items() for key in options.settable(cls)]
    tables: dict[str, dict[str, str]] = {}
    for item in assigned:
        key, equals, value = item.partition("=")
        if not equals:
            raise TrajkitError("--set", f"{item!r} is not of the form key=value", "write --set loop.lr=1e-5")
        if key not in known:
            own = [one for one in known if one.endswith(f".{key}")]
            remedy = f"write {' or '.join(own)}" if own else nearest(key, known)
            raise TrajkitError("--set", f"unknown option {key!r}", remedy)
        section, _, name = key.partition(".")
        tables.setdefault(section, {})[name] = value
    return tables


def read_toml(path: Path) -> dict[str, Any]:
    """A TOML file. Raises TrajkitError where it is missing or none."""
    try:
        return tomllib.loads(files.read_text(path))
    except tomllib.TOMLDecodeError as error:
        raise TrajkitError(path, f"not valid TOML ({error})", "correct the file") from None


def starts(stage: str, roles: Mapping[str, Any], given: Mapping[str, str | None]) -> dict[str, Start]:
    """The checkpoint of each flag that the stage has roles for: critic falls back on teacher, teacher on start.

    Raises TrajkitError where one is missing, or went through another stage than the role needs.
    """
    flags = sorted({flag_of(roles, name) for name in roles})
    found = {}
    for flag in flags:
        chain = ("critic", "teacher", "start")[("critic", "teacher", "start").index(flag) :]
        named = next((one for one in chain if given.get(one)), None)
        if named is None:
            raise TrajkitError(f"--{flag}", "no checkpoint given", f"give --{flag} CHECKPOINT, or random:")
        found[flag] = located(f"--{named}", str(given[named]), flag)
        card = found[flag].card
        if card is not None and flag in STARTS.get(stage, {}):
            role = "" if named == flag else f" for the {flag}"
            expect(card, f"--{named} {found[flag].source}{role}", STARTS[stage][flag])
    return found


def located(flag: str, source: str, wanted: str) -> Start:
    """The weights that a run, a role's folder or anything else names. Raises TrajkitError for an unfinished run."""
    path = Path(source)
    for folder in (path, *(base / role for base in (path / checkpoint.FINAL, path) for role in ROLE_ORDER)):
        if (folder / NAME).is_file():
            return Start(flag=wanted, source=str(folder), card=read_card(folder))
    if (path / checkpoint.CHECKPOINTS).is_dir():
        remedy = f"finish it, or give one of {path / checkpoint.CHECKPOINTS}"
        raise TrajkitError(f"{flag} {source}", "is a run that is not finished", remedy)
    return Start(flag=wanted, source=source, card=None)


def conditioning_of(asked: Conditioning | None, found: Mapping[str, Start], backbone: str, stage: str) -> Conditioning:
    """The conditioning of the run: as asked, or the start's. Raises TrajkitError where a checkpoint has another one.

    Only finetune may give cameras to a network that had none.
    """
    first = found["start"].card
    chosen: Conditioning = asked or (first.conditioning if first is not None else "prope")
    for where, card in _cards_of(found):
        if card.backbone != backbone:
            raise TrajkitError(where, f"is of backbone {card.backbone}", f"give --backbone {card.backbone}")
        if card.conditioning != chosen and not (stage == "finetune" and card.conditioning == "none"):
            raise TrajkitError(where, f"has conditioning {card.conditioning}", f"not {chosen}; they cannot be mixed")
    return chosen


def _cards_of(found: Mapping[str, Start]) -> Iterator[tuple[str, Card]]:
    """What to call each checkpoint that has a card, and the card."""
    return ((f"--{one.flag} {one.source}", one.card) for one in found.values() if one.card is not None)


def scale_of(found: Mapping[str, Start], asked: float) -> float:
    """What translations are divided by, as asked or as the checkpoints had it; 0 = to be measured.

    Raises TrajkitError where the checkpoints of a run disagree.
    """
    known = {start.card.translation_scale: flag for flag, start in found.items() if start.card is not None}
    if len(known) > 1:
        (one, first), (other, second) = list(known.items())[:2]
        problem = f"its translation_scale is {one}, that of --{second} {other}"
        raise TrajkitError(f"--{first}", problem, "give checkpoints of one line of training")
    return asked or next(iter(known), 0.0)


def check_clips(facts: Facts, found: Mapping[str, Start], stage: str, loop: Options, own: Any = None) -> None:
    """Raises TrajkitError where the clips are not what the checkpoints were trained on, or what the stage needs.

    `own` are the options of the stage; without them, neither a teacher's paths nor `first_frame` are checked.
    """
    roles = plugins.load("stages", stage).ROLES
    if any(role.causal for role in roles.values()) and facts.latents % loop.chunk:
        problem = f"their {facts.latents} latents are no multiple of the chunk of {loop.chunk}"
        raise TrajkitError("clips", problem, f"give --set loop.latents={facts.latents // loop.chunk * loop.chunk}")
    if stage == "ode" and not facts.states:
        raise TrajkitError("clips", "hold no path of a teacher, which ode learns from", "run trajkit pairs first")
    if stage == "ode" and own is not None:
        ode_pairs.check(facts.pairs, own)
    size = slice(0, 1) if stage == "finetune" else slice(None)  # a fine-tune may change the picture's size
    for where, card in _cards_of(found):
        learned, held = ("x".join(map(str, one)) for one in (card.latent, facts.latent))
        if card.latent and card.latent[size] != facts.latent[size]:
            problem = f"was trained on latents of {learned}, the clips have {held}"
            raise TrajkitError(where, problem, "encode the clips for it")
        if card.encoder not in ("", facts.encoder):
            problem = f"was trained on latents of {card.encoder}, the clips have those of {facts.encoder}"
            raise TrajkitError(where, problem, "encode the clips for it")
        told = getattr(own, "first_frame", card.first_frame)
        if stage != "finetune" and card.stage != "none" and card.first_frame != told:
            problem = f"was {'' if card.first_frame else 'not '}told each clip's first latent"
            raise TrajkitError(where, problem, f"give --set stage.first_frame={str(card.first_frame).lower()}")
        if card.stage not in ("none", "finetune") and card.chunk != loop.chunk:
            problem = f"was trained on chunks of {card.chunk} latents, not {loop.chunk}"
            raise TrajkitError(where, problem, f"give --set loop.chunk={card.chunk}")


def cards(
    roles: Mapping[str, Any], stage: str, own: Any, loop: Options, template: Mapping[str, Any]
) -> dict[str, Card]:
    """The card of each role that is saved; `template` has what they share."""
    made = {}
    versions = {name: importlib.metadata.version(name) for name in ("diffusers", "torch")}  # what shapes the weights
    for name, role in roles.items():
        if role.kind == "frozen":
            continue
        followed = flag_of(roles, name) == "start"  # a critic stays what it was: a bidirectional network
        few = followed and stage in FEW_STEPS
        made[name] = Card(
            stage=stage if followed else "finetune",  # type: ignore[arg-type]
            chunk=loop.chunk,
            solver="consistency" if few else "euler",
            timesteps=flow.timesteps_of(getattr(own, "timesteps", "1000 750 500 250")) if few else (),
            shift=getattr(own, "shift", 1.0),
            first_frame=getattr(own, "first_frame", False),
            versions=versions,
            **template,
        )
    return made


def keep_record(out: Path, record: Mapping[str, Table], *, write: bool) -> None:
    """Writes OUT/train.toml. Raises TrajkitError where the run in OUT began with other options."""
    path = out / RECORD
    before = read_toml(path) if path.exists() else record
    for section, table in record.items():
        was = before.get(section, {})
        for key in sorted({*table, *was} - FREE):
            if _plain(table.get(key)) != _plain(was.get(key)):
                problem = f"the run began with {section}.{key} = {was.get(key)}, not {table.get(key)}"
                raise TrajkitError(path, problem, "give the same options to go on, or another --out")
    if write:
        lines = []
        for section, table in record.items():
            kept = (f"{key} = {json.dumps(_plain(value))}" for key, value in table.items() if value is not None)
            lines += [f"[{section}]", *kept, ""]
        files.write_bytes(path, "\n".join(lines).encode())


def _plain(value: Any) -> Any:
    return list(map(str, value)) if isinstance(value, tuple | list) else value


def roles_of(stage: str, loop: Options) -> dict[str, Any]:
    """The roles of a run of the stage."""
    return with_average(plugins.load("stages", stage).ROLES, loop)
