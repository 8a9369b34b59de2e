"""The page: one HTML file that needs nothing else. It borrows the 3D view and the look of `trajkit show`."""

import base64
import hashlib
from importlib.resources import files as resources

from trajkit.show.page import script_json

from . import sections
from .figures import patterns
from .items import content
from .markup import joined, tag
from .report import Report

BORROWED = ("view.js", "routes.js")  # of trajkit.show
SCRIPTS = ("charts.js", "clip.js", "explore.js")


def page(report: Report) -> bytes:
    """HTML of the report. No string of the data can become markup; the policy admits this script and style alone."""
    told = [
        sections.verdicts(report),
        sections.quality(report),
        sections.origins(report),
        sections.motion(report),
        sections.distributions(report),
        sections.repetition(report),
        sections.materials(report),
        sections.numbers(report),
        sections.provenance(report),
    ]
    before, after = told[:1], told[1:]
    style = _text("trajkit.show", "page.css") + _text(__package__, "report.css")
    scripts = [_text("trajkit.show", name) for name in BORROWED] + [_text(__package__, name) for name in SCRIPTS]
    script = "".join(scripts)
    parts = {
        "{style-hash}": _hash(style),
        "{script-hash}": _hash(script),
        "{title}": tag("title", report.title),
        "{style}": style,
        "{heading}": tag("h1", report.title),
        "{tiles}": sections.tiles(report),
        "{patterns}": patterns(),
        "{before}": joined(before),
        "{after}": joined(after),
        "{content}": script_json(content(report)),
        "{script}": script,
    }
    return _filled(_text(__package__, "report.html"), parts).encode()


def _filled(template: str, parts: dict[str, str]) -> str:
    """The template with each part in the place of its name; nothing is replaced inside what was filled in."""
    made, rest = [], template
    for name, text in parts.items():
        before, found, rest = rest.partition(name)
        if not found:
            raise ValueError(f"the template has no {name} after the one before it")
        made += [before, text]
    return "".join([*made, rest])


def _text(package: str, name: str) -> str:
    return (resources(package) / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
