"""Markup that no string can become by itself: everything that is not `Markup` is escaped."""

from collections.abc import Iterable
from html import escape

from .told import told

Child = object  # Markup, text, a number, None (nothing), or an iterable of those


class Markup(str):
    """HTML that was built by `tag`, or is known to be."""

    __slots__ = ()


VOID = ("br", "img", "input", "rect", "line", "path", "circle")


def tag(_name: str, *children: Child, **attributes: str | int | float | bool | None) -> Markup:
    """An element; `class_` becomes class, `aria_label` aria-label, None and False are left out, True stands alone."""
    parts = [_name]
    for key, value in attributes.items():
        name = key.removesuffix("_").replace("_", "-")
        if value is True:
            parts.append(name)
        elif value is not None and value is not False:
            text = f"{value:.6g}" if isinstance(value, float) else str(value)
            parts.append(f'{name}="{escape(text)}"')
    opened = " ".join(parts)
    inside = "".join(_flat(children))
    if _name in VOID and not inside:
        return Markup(f"<{opened}/>")
    return Markup(f"<{opened}>{inside}</{_name}>")


def joined(*children: Child) -> Markup:
    """The children beside each other."""
    return Markup("".join(_flat(children)))


def _flat(children: Iterable[Child]) -> Iterable[str]:
    for child in children:
        if child is None:
            continue
        if isinstance(child, Markup):
            yield child
        elif isinstance(child, str):
            yield escape(child)
        elif isinstance(child, Iterable):
            yield from _flat(child)
        else:
            yield escape(told(child))


def table(
    caption: Child,
    heads: Iterable[str],
    rows: Iterable[Iterable[Child]],
    *,
    numbers: Iterable[int] = (),
    class_: str | None = None,
) -> Markup:
    """A table with a caption; the first cell of a row heads it, the columns in `numbers` are set right."""
    right = set(numbers)
    kind = lambda k: "number" if k in right else None  # noqa: E731
    head = tag("tr", [tag("th", text, scope="col", class_=kind(k)) for k, text in enumerate(heads)])
    body = [
        tag(
            "tr", [tag("td" if k else "th", cell, scope=None if k else "row", class_=kind(k)) for k, cell in _each(row)]
        )
        for row in rows
    ]
    inner = tag("table", tag("caption", caption), tag("thead", head), tag("tbody", body), class_=class_)
    return tag("div", inner, class_="scroller", tabindex="0", role="group", aria_label="Table, may scroll")


def _each(row: Iterable[Child]) -> Iterable[tuple[int, Child]]:
    return enumerate(row)
