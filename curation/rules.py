"""Rules over scored clips: a TOML file, and the small language of its conditions.

    [[rule]]
    name = "poses"
    require = "probability >= 0.9 or kind == 'rendered'"

    [[rule]]
    name = "no stills"
    reject = "motion == 'static'"
    missing = "accept"

A rule has one condition: `require` (rejects what does not meet it), `reject` or `undetermined`. A condition knows
numbers, 'text', true, false, names with dots, == != < <= > >=, `in` and `not in` a [list], 'text' in a name, and, or,
not, brackets. It is read as a Python expression, of which all else is refused; nothing is ever evaluated as code. A
value that a clip does not have makes a comparison neither true nor false: `missing` says what then.
"""

import ast
import tomllib
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import polars as pl

from trajkit import files
from trajkit.errors import TrajkitError, nearest

VERBS = ("require", "reject", "undetermined")
Missing = Literal["undetermined", "accept", "reject"]
MAX_CONDITION = 2000  # characters
MAX_DEPTH = 30  # of nesting; what evaluates conditions overflows its stack at some hundreds
MAX_RULES_BYTES = 1 << 20
BIG = 1e300  # numbers of a condition stay below
KINDS = {pl.Float64: "a number", pl.String: "text", pl.Boolean: "true or false"}
ORDERS = {ast.Lt: "lt", ast.LtE: "le", ast.Gt: "gt", ast.GtE: "ge"}
EQUALS = {ast.Eq: "eq", ast.NotEq: "ne"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Rule:
    """One rule. `tree` is its condition, parsed and found to hold nothing but the language."""

    name: str
    verb: str  # one of VERBS
    condition: str
    missing: Missing
    tree: ast.expr

    @property
    def where(self) -> str:
        """How errors call the rule."""
        return f"rule {self.name!r}"

    @property
    def names(self) -> list[str]:
        """Names in the condition, each once, in its order."""
        found = [_dotted(node) for node in _nodes(self.tree) if isinstance(node, ast.Name | ast.Attribute)]
        return list(dict.fromkeys(name for name in found if name not in CONSTANTS))

    @property
    def simple(self) -> tuple[str, float] | None:
        """(name, number) of a condition such as `probability >= 0.9`, None for any other one."""
        tree = self.tree
        if not (isinstance(tree, ast.Compare) and len(tree.ops) == 1):
            return None
        sides = (tree.left, tree.comparators[0])
        named = [_dotted(side) for side in sides if isinstance(side, ast.Name | ast.Attribute)]
        given = [
            _value(side) for side in sides if not isinstance(side, ast.Name | ast.Attribute | ast.List | ast.Tuple)
        ]
        if len(named) == len(given) == 1 and type(given[0]) in (int, float) and named[0] not in CONSTANTS:
            return named[0], float(given[0])
        return None


CONSTANTS = {"true": True, "false": False}


class Typed(NamedTuple):
    """An expression and the type of its values."""

    expression: pl.Expr
    dtype: Any
    text: str


def read_rules(path: Path) -> tuple[Rule, ...]:
    """The rules of a TOML file, in their order. Raises TrajkitError for anything that is no rule."""
    content = files.read_bytes(path, limit=MAX_RULES_BYTES)
    try:
        table = tomllib.loads(content.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise TrajkitError(path, f"not valid TOML ({error})", "correct the file") from None
    for key in table:
        if key != "rule":
            raise TrajkitError(path, f"unknown key {key!r}", "write [[rule]] tables")
    listed = table.get("rule")
    if not (isinstance(listed, list) and listed and all(isinstance(one, dict) for one in listed)):
        raise TrajkitError(path, "holds no rules", "write [[rule]] tables, each with a name and a condition")
    rules = tuple(_rule(one, number, path) for number, one in enumerate(listed, 1))
    names = [rule.name for rule in rules]
    for name in names:
        if names.count(name) > 1:
            raise TrajkitError(path, f"two rules are called {name!r}", "give each its own name")
    return rules


def _rule(table: Mapping[str, Any], number: int, path: Path) -> Rule:
    where = f"{path}, rule {number}"
    for key, value in table.items():
        if key not in ("name", "missing", *VERBS):
            raise TrajkitError(where, f"unknown key {key!r}", nearest(key, ("name", "missing", *VERBS)))
        if not (isinstance(value, str) and value.strip()):
            raise TrajkitError(where, f"{key} is not a text", f'write {key} = "..."')
    verbs = [verb for verb in VERBS if verb in table]
    if len(verbs) != 1:
        raise TrajkitError(where, f"has {len(verbs)} conditions", f"give it one of {', '.join(VERBS)}")
    if "name" not in table:
        raise TrajkitError(where, "has no name", 'write name = "..."; the ledger calls it by that')
    missing = table.get("missing", "undetermined")
    if missing not in get_args(Missing):
        raise TrajkitError(where, f"missing = {missing!r}", f"use one of {', '.join(get_args(Missing))}")
    condition = table[verbs[0]].strip()
    tree = parse(condition, f"{path}, rule {table['name']!r}")
    return Rule(name=table["name"].strip(), verb=verbs[0], condition=condition, missing=missing, tree=tree)


def parse(condition: str, where: str) -> ast.expr:
    """The condition's tree. Raises TrajkitError where it is no condition of this language."""
    if len(condition) > MAX_CONDITION:
        raise TrajkitError(where, f"a condition of {len(condition)} characters", "split it into several rules")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of escapes in texts
            tree = ast.parse(condition, mode="eval").body
        for node in _nodes(tree):
            _check(node, where, condition)
    except SyntaxError as error:
        at = f" at {condition[max((error.offset or 1) - 1, 0) :][:20]!r}" if error.offset else ""
        remedy = "compare names with numbers or 'texts', joined by and, or, not"
        raise TrajkitError(where, f"{condition!r} is no condition{at}", remedy) from None
    except (ValueError, OverflowError, RecursionError, MemoryError):
        raise TrajkitError(where, "is no condition that can be read", "write it shorter") from None
    return tree


def _nodes(tree: ast.expr, depth: int = 0) -> list[ast.AST]:
    """All nodes that carry meaning, depth first; a dotted name is one. Raises ValueError where they nest too deep."""
    if depth > MAX_DEPTH:
        raise ValueError
    found: list[ast.AST] = [tree]
    if not isinstance(tree, ast.Attribute):
        for child in ast.iter_child_nodes(tree):
            found += _nodes(child, depth + 1) if isinstance(child, ast.expr) else [child]
    return found


def _check(node: ast.AST, where: str, condition: str) -> None:
    known = (ast.BoolOp, ast.And, ast.Or, ast.Not, ast.USub, ast.Compare, ast.In, ast.NotIn, ast.Load, ast.Name)
    allowed = isinstance(node, (*known, *EQUALS, *ORDERS))
    if isinstance(node, ast.UnaryOp):
        allowed = isinstance(node.op, ast.Not) or (isinstance(node.op, ast.USub) and _is_number(node.operand))
    elif isinstance(node, ast.Constant):
        value = node.value
        allowed = isinstance(value, bool | str) or (isinstance(value, int | float) and abs(float(value)) < BIG)
    elif isinstance(node, ast.List | ast.Tuple):
        allowed = all(_is_constant(item) for item in node.elts)
    elif isinstance(node, ast.Attribute):
        allowed = bool(_dotted(node))
    if not allowed:
        part = ast.get_source_segment(condition, node) if isinstance(node, ast.expr) else type(node).__name__
        problem = f"{part!r} is not part of the language"
        raise TrajkitError(where, problem, "compare names with numbers or 'texts', joined by and, or, not")


def _dotted(node: ast.AST) -> str:
    """`metric.value` of a name with dots; "" where it hangs on anything but names."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        head = _dotted(node.value)
        return f"{head}.{node.attr}" if head else ""
    return ""


def _is_number(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and type(node.value) in (int, float)


def _is_constant(node: ast.AST) -> bool:
    if isinstance(node, ast.UnaryOp):
        return isinstance(node.op, ast.USub) and _is_number(node.operand)
    return isinstance(node, ast.Constant) or (isinstance(node, ast.Name) and node.id in CONSTANTS)


def _value(node: ast.AST) -> Any:
    """The value of a constant; None for anything else."""
    if isinstance(node, ast.UnaryOp) and _is_constant(node):
        return -_value(node.operand)
    if isinstance(node, ast.Name):
        return CONSTANTS.get(node.id)
    return node.value if isinstance(node, ast.Constant) else None


def compiled(rule: Rule, types: Mapping[str, Any]) -> pl.Expr:
    """The condition over a table with a column for each of its names: true, false, or null where a value is missing.

    `types` are the columns' Polars types. Raises TrajkitError where a comparison does not fit them.
    """
    made = _compile(rule.tree, rule, types)
    if made.dtype != pl.Boolean:
        raise TrajkitError(rule.where, f"{made.text!r} is {KINDS[made.dtype]}, no condition", "compare it with a value")
    return made.expression


def _compile(node: ast.expr, rule: Rule, types: Mapping[str, Any]) -> Typed:
    text = ast.get_source_segment(rule.condition, node) or rule.condition
    if _is_constant(node):
        value = _value(node)
        dtype = {bool: pl.Boolean, str: pl.String}.get(type(value), pl.Float64)
        return Typed(pl.lit(float(value) if dtype == pl.Float64 else value, dtype=dtype), dtype, text)
    if isinstance(node, ast.Name | ast.Attribute):
        return Typed(pl.col(_dotted(node)), types[_dotted(node)], text)
    if isinstance(node, ast.Compare):
        return Typed(_comparison(node, rule, types), pl.Boolean, text)
    if isinstance(node, ast.List | ast.Tuple):
        raise TrajkitError(rule.where, f"{text!r} is a list, no condition", "write name in [...]")
    parts = node.values if isinstance(node, ast.BoolOp) else [node.operand]  # type: ignore[attr-defined]
    conditions = [_compile(part, rule, types) for part in parts]
    for made in conditions:
        if made.dtype != pl.Boolean:
            problem = f"{made.text!r} is {KINDS[made.dtype]}, no condition"
            raise TrajkitError(rule.where, problem, "compare it with a value")
    if not isinstance(node, ast.BoolOp):
        return Typed(~conditions[0].expression, pl.Boolean, text)
    join = pl.all_horizontal if isinstance(node.op, ast.And) else pl.any_horizontal
    return Typed(join([made.expression for made in conditions]), pl.Boolean, text)


def _comparison(node: ast.Compare, rule: Rule, types: Mapping[str, Any]) -> pl.Expr:
    """`a < b < c` is both of its comparisons."""
    sides = [node.left, *node.comparators]
    steps = zip(sides[:-1], node.ops, sides[1:], strict=True)
    return pl.all_horizontal([_step(left, op, right, rule, types) for left, op, right in steps])


def _step(left: ast.expr, op: ast.cmpop, right: ast.expr, rule: Rule, types: Mapping[str, Any]) -> pl.Expr:
    one = _compile(left, rule, types)
    if isinstance(op, ast.In | ast.NotIn):
        found = _membership(one, right, rule, types)
        return found if isinstance(op, ast.In) else ~found
    two = _compile(right, rule, types)
    _same(one, two.dtype, two.text, rule)
    if type(op) in ORDERS and one.dtype != pl.Float64:
        problem = f"{one.text!r} is {KINDS[one.dtype]} and has no order"
        raise TrajkitError(rule.where, problem, "compare it with == or in")
    compared: pl.Expr = getattr(one.expression, (ORDERS | EQUALS)[type(op)])(two.expression)
    return compared


def _membership(one: Typed, right: ast.expr, rule: Rule, types: Mapping[str, Any]) -> pl.Expr:
    if isinstance(right, ast.List | ast.Tuple):
        items = [_compile(item, rule, types) for item in right.elts]
        for item in items:
            _same(one, item.dtype, item.text, rule)
        return pl.any_horizontal([one.expression.eq(item.expression) for item in items] or [pl.lit(False)])
    whole = _compile(right, rule, types)
    if one.dtype == whole.dtype == pl.String:
        return whole.expression.str.contains(one.expression, literal=True)
    raise TrajkitError(rule.where, f"{whole.text!r} is {KINDS[whole.dtype]}, no list", "write name in ['a', 'b']")


def _same(one: Typed, dtype: Any, text: str, rule: Rule) -> None:
    if one.dtype != dtype:
        problem = f"{one.text!r} is {KINDS[one.dtype]}, {text!r} is {KINDS[dtype]}"
        raise TrajkitError(rule.where, problem, "compare values of one kind")
