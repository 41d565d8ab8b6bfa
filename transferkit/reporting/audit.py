"""The report's parts about an audit: what was audited, and what `--fail-on` asked for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

from transferkit.report import json_text
from transferkit.reporting import page
from transferkit.reporting.tables import cell
from transferkit.runs.record import RunRecord
from transferkit.words.formats import settings_text

ROLES = {"source": "source model", "target": "target model", "baseline": "baseline model"}
PLAIN = (str, int, float, type(None))
DATA = {"source": "source images", "target": "target images"}


def audit_title(audit: Mapping[str, Any]) -> str:
    """The target as it was given, or the audit's name."""
    given = _entry((audit.get("models") or {}).get("target")).get("given")
    return f"Audit of {given or audit.get('name') or 'a model'}"


def facts(run: RunRecord) -> Iterator[str]:
    """What was audited: every model and data set as it was given and as it was understood."""
    audit = run.audit
    rows = [
        [names.get(role, role), _described(_entry(entry))]
        for key, names in (("models", ROLES), ("data", DATA))
        for role, entry in sorted((audit.get(key) or {}).items(), key=lambda item: _place(names, item[0]))
    ]
    if audit.get("inherited"):
        rows.append(["from the run's recipe", settings_text(audit["inherited"])])
    rest = [[key, cell(value)] for key, value in audit.items() if key != "name" and isinstance(value, PLAIN)]
    yield page.table(["", ""], rows + rest, style="facts")
    yield page.folded("audit.json", json_text(audit, indent=2))


def _described(entry: Mapping[str, Any]) -> page.Markup:
    """As it was given, and below in small print what it turned out to be."""
    below = f'<div class="small">{escape(str(entry["description"]))}</div>' if entry.get("description") else ""
    return page.Markup(escape(cell(entry.get("given"))) + below)


def findings(run: RunRecord) -> str:
    """Each condition of `--fail-on`: failed or passed, with the value or values it looks at."""
    found = [one for one in run.result.get("findings") or [] if isinstance(one, Mapping)]
    holds = any(one.get("holds") is True or one.get("unchecked") for one in found)
    return page.box("Conditions of --fail-on", [_finding(one) for one in found], "warn" if holds else "note")


def _finding(one: Mapping[str, Any]) -> page.Markup:
    values = one.get("values")
    named = values if isinstance(values, Mapping) else {"": one.get("value")}
    shown = ", ".join(" = ".join(filter(None, [str(name), _measured(value)])) for name, value in named.items())
    outcome, holds = ("FAILED", "holds") if one.get("holds") is True else ("passed", "does not hold")
    if one.get("unchecked"):
        outcome, holds = "FAILED", "cannot be checked"
    condition = f"<code>{escape(str(one.get('expression', '–')))}</code>"
    return page.Markup(f"<strong>{outcome}</strong>: {condition} {holds} ({escape(shown)})")


def _measured(value: Any) -> str:
    return "not measured" if value is None else cell(value)


def _entry(value: Any) -> Mapping[str, Any]:
    """{given, description} of a model or data set, which may also be written as one text."""
    return value if isinstance(value, Mapping) else {"given": value}


def _place(names: Mapping[str, str], role: str) -> tuple[int, str]:
    return (list(names).index(role) if role in names else len(names)), role
