"""Rules over scored clips: what the language says, what is written, and what is refused in one line."""

import json
import shutil
from pathlib import Path

import polars as pl
import pytest
import scorerows
from hypothesis import given, settings
from hypothesis import strategies as st

from trajkit.curation.commands.filter import command
from trajkit.curation.filter import judge, scored
from trajkit.curation.rules import Rule, compiled, parse, read_rules
from trajkit.errors import TrajkitError
from trajkit.ledger import Ledger, Row

RULES = """
[[rule]]
name = "poses"
require = "probability >= 0.9"

[[rule]]
name = "no stills"
reject = "motion == 'static'"
missing = "accept"
"""


def written(folder, text, name="rules.toml"):
    path = Path(folder) / name
    path.write_text(text)
    return path


def run(*arguments):
    return command.main([str(one) for one in arguments], standalone_mode=False)


def states(folder, text, tmp_path):
    outcome = judge(read_rules(written(tmp_path, text)), scored([folder]))
    return dict(outcome.clips.select("key", "state").iter_rows())


def one_rule(condition, verb="require", missing="undetermined"):
    return f'[[rule]]\nname = "r"\n{verb} = {json.dumps(condition)}\nmissing = "{missing}"\n'


@pytest.fixture
def clips(tmp_path):
    return scorerows.scored_folder(
        tmp_path / "clips",
        scorerows.clip_rows("a", 0.95, metrics={"sampson": (0.4, {"p90": 0.9}), "depth": None}),
        scorerows.clip_rows("b", 0.95, motion="static", metrics={"sampson": (1.5, {"p90": 4.0}), "motion": 2.0}),
        scorerows.clip_rows("c", 0.2, "rejected", motion="static", licence="CC-BY-NC-4.0"),
        scorerows.clip_rows("d", None, "undetermined", metrics={"sampson": (None, {})}),
        scorerows.unreadable_rows("e"),
    )


# ----------------------------------------------------------------------------------------------- the language

COLUMNS = {"x": pl.Float64, "y.z": pl.Float64, "s": pl.String, "b": pl.Boolean}
CLIPS = [
    {"x": x, "y.z": y, "s": s, "b": b}
    for x in (None, 0.0, 1.5)
    for y in (None, 1.0)
    for s in (None, "a", "bc")
    for b in (None, True, False)
]
NUMBERS = ["x", "y.z", "1", "1.5", "-1"]
TEXTS = ["s", "'a'", "'c'"]


def conditions():
    numbers, texts = st.sampled_from(NUMBERS), st.sampled_from(TEXTS)
    order = st.sampled_from(["==", "!=", "<", "<=", ">", ">="])
    leaves = st.one_of(
        st.tuples(numbers, order, numbers).map(" ".join),
        st.tuples(texts, st.sampled_from(["==", "!=", "in"]), texts).map(" ".join),
        st.tuples(texts, st.sampled_from(["in", "not in"]), st.just("['a', 'c']")).map(" ".join),
        st.tuples(numbers, st.sampled_from(["in", "not in"]), st.just("(1, -1)")).map(" ".join),
        st.sampled_from(["b", "true", "false", "b == false", "0 < x <= y.z"]),
    )
    return st.recursive(
        leaves,
        lambda inner: st.one_of(
            st.tuples(inner, st.sampled_from(["and", "or"]), inner).map(lambda three: f"({' '.join(three)})"),
            inner.map(lambda one: f"not ({one})"),
        ),
        max_leaves=6,
    )


def slow(node, clip):
    """The value of a condition for one clip, None where it hangs on what is missing; written without Polars."""
    import ast

    if isinstance(node, ast.BoolOp):
        values = [slow(one, clip) for one in node.values]
        stop = isinstance(node.op, ast.Or)
        return stop if stop in values else None if None in values else not stop
    if isinstance(node, ast.UnaryOp):
        value = slow(node.operand, clip)
        return None if value is None else (not value if isinstance(node.op, ast.Not) else -value)
    if isinstance(node, ast.Compare):
        sides = [node.left, *node.comparators]
        results = [compare(*three, clip) for three in zip(sides[:-1], node.ops, sides[1:], strict=True)]
        return False if False in results else None if None in results else True
    if isinstance(node, ast.List | ast.Tuple):
        return [slow(one, clip) for one in node.elts]
    if isinstance(node, ast.Constant):
        return node.value
    name = ast.unparse(node)
    return {"true": True, "false": False}.get(name, clip.get(name))


def compare(left, op, right, clip):
    import operator

    one, two = slow(left, clip), slow(right, clip)
    if one is None or two is None:
        return None
    functions = {"Eq": "eq", "NotEq": "ne", "Lt": "lt", "LtE": "le", "Gt": "gt", "GtE": "ge"}
    name = type(op).__name__
    if name in functions:
        return getattr(operator, functions[name])(one, two)
    return (one in two) == (name == "In")


@given(conditions())
@settings(deadline=None, max_examples=50, derandomize=True)
def test_conditions_mean_what_a_slow_evaluation_says(condition):
    tree = parse(condition, "here")
    rule = Rule(name="r", verb="require", condition=condition, missing="accept", tree=tree)
    found = pl.DataFrame(CLIPS, schema=COLUMNS).with_columns(compiled(rule, COLUMNS).alias("found"))["found"]
    assert found.to_list() == [slow(tree, clip) for clip in CLIPS]


@pytest.mark.parametrize(
    "condition",
    [
        "__import__('os').system('true')",
        "x.__class__()",
        "(lambda: 1)() == 1",
        "[y for y in x] == x",
        "x if x else x",
        "x ** 9 == 1",
        "x + 1 > 2",
        "f'{x}' == 'a'",
        "x is None",
        "None == x",
        "x[0] == 1",
        "(x := 1) == 1",
        "'a'.upper() == 'A'",
        "b'a' == x",
        "1j == x",
        "x in [[1]]",
        "x in [y]",
        "+x > 1",
        "-x > 1",
        "~x == 1",
        "... == x",
        "1e999 > x",
        "1" * 400 + " > x",
        "{1: 2} == x",
        "x.y().z > 1",
        "await x",
        "x = 1",
        "x > 1; y > 2",
        "x >",
        "",
        "x > 1\nimport os",
        "x\0 > 1",
        "(" * 500 + "x" + ")" * 500,
        "not " * 490 + "x",
        "x > 1 and " * 300 + "x > 1",
    ],
)
def test_nothing_but_the_language_is_read(condition):
    with pytest.raises(TrajkitError) as caught:
        parse(condition, "rule 'r'")
    assert str(caught.value).startswith("rule 'r': ")
    assert "\n" not in str(caught.value)


# ----------------------------------------------------------------------------------------------- states


def test_a_clip_takes_the_worst_that_any_rule_says(clips, tmp_path):
    assert states(clips, RULES, tmp_path) == {
        "a": "accepted",
        "b": "rejected",
        "c": "rejected",
        "d": "undetermined",
        "e": "undetermined",
    }


@pytest.mark.parametrize(
    ("condition", "kept"),
    [
        ("state == 'accepted'", "ab"),
        ("key in ['a', 'e']", "ae"),
        ("'NC' in licence", "c"),
        ("sampson < 1", "a"),
        ("sampson.value < 1 and sampson.p90 < 1", "a"),
        ("motion == 'parallax'", "ad"),
        ("motion.value == 2", "b"),
        ("0.3 > probability", "c"),
        ("frames == 77", "abcd"),
        ("'points' in reason", "cd"),
        ("not (sampson < 1 or motion == 'static')", ""),
        ("low < high", "abcd"),
    ],
)
def test_names_are_those_of_verdict_facts_and_metrics(clips, tmp_path, condition, kept):
    found = states(clips, one_rule(condition, missing="reject"), tmp_path)
    assert "".join(key for key, state in found.items() if state == "accepted") == kept


@pytest.mark.parametrize(("missing", "state"), [("accept", "accepted"), ("reject", "rejected")])
def test_a_missing_value_does_what_the_rule_says(clips, tmp_path, missing, state):
    for verb, condition in (("require", "probability > 0.9"), ("reject", "probability < 0.1")):
        assert states(clips, one_rule(condition, verb, missing), tmp_path)["d"] == state
        assert states(clips, one_rule(condition, verb), tmp_path)["d"] == "undetermined"


def test_a_rule_may_leave_clips_undetermined(clips, tmp_path):
    found = states(clips, one_rule("motion == 'static'", "undetermined", "accept"), tmp_path)
    assert found == {"a": "accepted", "b": "undetermined", "c": "undetermined", "d": "accepted", "e": "accepted"}


def test_only_the_newest_attempt_of_a_clip_counts(clips, tmp_path):
    newer = scorerows.clip_rows("a", 0.1, "rejected", metrics={"other": 1.0})
    scorerows.scored_folder(clips, newer)
    Ledger(clips).append("filter-rules", [Row(key="z", stage="filter", state="accepted")])
    Ledger(clips).append("render-x", [Row(key="y", stage="render", state="rendered")])
    found = scored([clips]).table(["probability", "sampson", "other", "state"])
    assert found.to_dicts()[0] == {"key": "a", "probability": 0.1, "sampson": None, "other": 1.0, "state": "rejected"}
    assert found["key"].to_list() == ["a", "b", "c", "d", "e"]


def test_several_folders_are_one_set(clips, tmp_path):
    more = scorerows.scored_folder(tmp_path / "more", scorerows.clip_rows("f", 0.5))
    assert len(scored([clips, more, clips]).clips) == 6


# ----------------------------------------------------------------------------------------------- the command


def test_it_prints_what_each_rule_removes_and_writes_the_verdicts(clips, tmp_path, capsys):
    out, rules = tmp_path / "out", written(tmp_path, RULES)
    assert run(clips, "--rules", rules, "--out", out) == 3
    assert capsys.readouterr().out.splitlines() == [
        "rule       first  rejected  undetermined",
        "poses          3         1             2",
        "no stills      1         2             0",
        "5 clips: 1 accepted, 2 rejected, 2 undetermined",
    ]
    lists = {path.stem: path.read_text() for path in (out / "filter").glob("*.txt")}
    assert lists == {"accepted": "a\n", "rejected": "b\nc\n", "undetermined": "d\ne\n"}
    assert (out / "filter/rules.toml").read_text() == RULES
    rows = Ledger(out).scan().collect().to_dicts()
    told = [(row["key"], row["state"], row["metric"], row["value"], row["threshold"], row["reason"]) for row in rows]
    assert told == [
        ("a", "accepted", "", None, None, ""),
        ("b", "rejected", "no stills", None, None, "reject motion == 'static'; motion static"),
        ("c", "rejected", "poses", 0.2, 0.9, "require probability >= 0.9; probability 0.2"),
        ("c", "rejected", "no stills", None, None, "reject motion == 'static'; motion static"),
        ("d", "undetermined", "poses", None, 0.9, "require probability >= 0.9; no probability"),
        ("e", "undetermined", "poses", None, 0.9, "require probability >= 0.9; no probability"),
    ]
    assert {row["stage"] for row in rows} == {"filter"}
    assert set(json.loads(rows[0]["versions"])) == {"trajkit", "rules"}


def test_the_deciding_rule_comes_first_and_is_counted(tmp_path, capsys):
    folder = scorerows.scored_folder(tmp_path / "c", scorerows.clip_rows("a", None, motion="static"))
    assert run(folder, "--rules", written(tmp_path, RULES), "--out", tmp_path / "out", "--json") == 3
    told = json.loads(capsys.readouterr().out)
    assert [(one["rule"], one["first"]) for one in told["rules"]] == [("poses", 0), ("no stills", 1)]
    assert Ledger(tmp_path / "out").scan().collect()["metric"].to_list() == ["no stills", "poses"]


def test_the_same_rules_again_change_nothing_and_others_are_a_new_attempt(clips, tmp_path):
    before = {path: path.read_bytes() for path in clips.rglob("*.parquet")}
    run(clips, "--rules", written(tmp_path, RULES), "--out", clips)
    files = {path: path.read_bytes() for path in clips.rglob("*") if path.is_file()}
    run(clips, "--rules", tmp_path / "rules.toml", "--out", clips)
    assert {path: path.read_bytes() for path in clips.rglob("*") if path.is_file()} == files
    written(tmp_path, one_rule("probability > 0", missing="accept"))
    assert run(clips, "--rules", tmp_path / "rules.toml", "--out", clips) == 0
    assert sorted(path.name for path in clips.glob("ledger/filter*")) == [
        "filter-rules.1.parquet",
        "filter-rules.2.parquet",
    ]
    assert before.items() <= {path: path.read_bytes() for path in clips.rglob("*.parquet")}.items()


def test_a_dry_run_writes_nothing(clips, tmp_path, capsys):
    assert run(clips, "--rules", written(tmp_path, RULES), "--out", tmp_path / "out", "--dry-run") == 3
    assert "2 rejected" in capsys.readouterr().out
    assert not (tmp_path / "out").exists()


def test_options_come_from_a_file_too(clips, tmp_path, capsys):
    written(tmp_path, f'[filter]\nrules = "{written(tmp_path, RULES)}"\n', "options.toml")
    assert run(clips, "--config", tmp_path / "options.toml", "--out", tmp_path / "out") == 3
    assert run(clips, "--config", tmp_path / "out/filter.toml", "--out", tmp_path / "again") == 3
    assert (tmp_path / "out/filter/accepted.txt").read_bytes() == (tmp_path / "again/filter/accepted.txt").read_bytes()


# ----------------------------------------------------------------------------------------------- refused

WRONG_RULES = {
    "no toml": ("[[rule", "not valid TOML"),
    "empty": ("", "holds no rules"),
    "not utf-8": (b"\xff\xfe", "not valid TOML"),
    "a table": ('[rule]\nname = "a"', "holds no rules"),
    "a text": ('rule = "probability > 1"', "holds no rules"),
    "texts": ('rule = ["probability > 1"]', "holds no rules"),
    "another key": ('rules = 1\n[[rule]]\nname = "a"', "unknown key 'rules'"),
    "a misspelt verb": ('[[rule]]\nname = "a"\nrequires = "probability > 1"', "did you mean 'require'"),
    "no condition": ('[[rule]]\nname = "a"', "has 0 conditions"),
    "two conditions": ('[[rule]]\nname = "a"\nrequire = "low > 1"\nreject = "low > 1"', "has 2 conditions"),
    "no name": ('[[rule]]\nrequire = "low > 1"', "has no name"),
    "a name twice": (RULES + RULES, "two rules are called 'poses'"),
    "a number": ('[[rule]]\nname = "a"\nrequire = 3', "require is not a text"),
    "missing = maybe": (one_rule("low > 1", missing="maybe"), "missing = 'maybe'"),
    "no expression": (one_rule("low >"), "is no condition"),
    "a call": (one_rule("exit() == 1"), "'exit()' is not part of the language"),
    "an unknown name": (one_rule("probabilty > 0.5"), "did you mean 'probability'"),
    "an unknown fact": (one_rule("licens == 'x'"), "did you mean 'licence'"),
    "an unknown number": (one_rule("sampson.p91 < 1"), "did you mean 'sampson.p90'"),
    "a unit": (one_rule("sampson.unit < 1"), "no clip has such a value"),
    "a list of facts": (one_rule("reasons == 'x'"), "no clip has such a value"),
    "text as number": (one_rule("motion == 3"), "'motion' is text, '3' is a number"),
    "number as text": (one_rule("fps in ['a']"), "'fps' is a number"),
    "order of texts": (one_rule("motion < 'z'"), "has no order"),
    "no condition at all": (one_rule("probability"), "is a number, no condition"),
    "half a condition": (one_rule("probability and low > 1"), "is a number, no condition"),
    "not a number": (one_rule("not fps"), "is a number, no condition"),
    "a list": (one_rule("[1]"), "is a list"),
    "in a number": (one_rule("'a' in fps"), "is a number, no list"),
}


@pytest.mark.parametrize("name", WRONG_RULES)
def test_wrong_rules_are_told_in_one_line(name, clips, tmp_path):
    text, words = WRONG_RULES[name]
    path = tmp_path / "rules.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    refused(words, clips, "--rules", path, "--out", tmp_path / "out")


def refused(words, *arguments):
    with pytest.raises(TrajkitError) as caught:
        run(*arguments)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    out = Path(arguments[arguments.index("--out") + 1])
    assert not out.exists()


def torn(path):
    path.write_bytes(path.read_bytes()[:-20])


def scrambled(path):
    """Pages overwritten under a footer that is whole."""
    content = path.read_bytes()
    path.write_bytes(content[:4] + bytes(255 - byte for byte in content[4:300]) + content[300:])


def other_table(path):
    pl.DataFrame({"key": ["a"]}).write_parquet(path)


def broken_values(values):
    def spoil(path):
        pl.read_parquet(path).with_columns(values=pl.lit(values)).write_parquet(path)

    return spoil


SPOILT = {
    "torn": (torn, "damaged ledger part"),
    "scrambled": (scrambled, "damaged ledger part"),
    "empty": (lambda path: path.write_bytes(b""), "damaged ledger part"),
    "another table": (other_table, "has columns key"),
    "values that are no JSON": (broken_values("{"), "holds no JSON"),
    "values that are a list": (broken_values("[]"), "no object"),
    "no score rows": (lambda path: path.rename(path.with_name("score-00.tmp")), "no scored clips"),
    "no ledger": (lambda path: shutil.rmtree(path.parent), "has no ledger"),
    "no folder": (lambda path: shutil.rmtree(path.parent.parent), "no such folder"),
}


@pytest.mark.parametrize("name", SPOILT)
def test_a_spoilt_ledger_is_told_in_one_line(name, clips, tmp_path):
    spoil, words = SPOILT[name]
    spoil(clips / "ledger/score-00.1.parquet")
    refused(words, clips, "--rules", written(tmp_path, RULES), "--out", tmp_path / "out")


def test_facts_of_two_kinds_are_refused(tmp_path):
    one, two = scorerows.clip_rows("a", fps="16"), scorerows.clip_rows("b")
    folder = scorerows.scored_folder(tmp_path / "c", one, two)
    refused("of one kind in some", folder, "--rules", written(tmp_path, one_rule("fps > 1")), "--out", tmp_path / "out")


def test_a_clip_in_two_folders_is_refused(clips, tmp_path):
    more = scorerows.scored_folder(tmp_path / "more", scorerows.clip_rows("a"))
    refused("clip a is also in", clips, more, "--rules", written(tmp_path, RULES), "--out", tmp_path / "out")


def test_missing_rules_are_refused(clips, tmp_path):
    refused("no such file", clips, "--rules", tmp_path / "none.toml", "--out", tmp_path / "out")
