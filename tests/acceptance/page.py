"""``docs/acceptance.md``: row, item, tests, result. Rows, marks and results in, text out."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import groupby
from xml.etree import ElementTree

from .marks import Proof
from .rows import Row

BACKENDS = ("asyncio", "trio")

HEAD = """\
# What is proven

Every system of draft-ietf-mif-current-practices-10 (later RFC 6419) and every example of the slides
"Multiple Provisioning Domains", each with the tests that prove what this package offers instead. *Control*:
a test shows beside it what the ordinary stack does. `make acceptance` writes this page from the tests' marks
and a run of them; a test holds it against the marks.
"""

NOT_RUN = "not run |"

#: (file, name of the test function) -> (parameters, outcome) of each run.
Results = Mapping[tuple[str, str], Sequence[tuple[str, str]]]


def render(
    sections: Mapping[str, str], rows: Sequence[Row], proofs: Sequence[Proof], results: Results
) -> str:
    """The page."""
    parts = [HEAD, _summary(rows, proofs)]
    for section, title in sections.items():
        parts.append(f"## {section}. {title}\n")
        parts.append("| row | item | what is shown | tests | result |\n|---|---|---|---|---|")
        for row in rows:
            if row.section == section:
                own = [proof for proof in proofs if row.id in proof.rows]
                parts.append(
                    f"| {row.id} | {row.item} | {row.proof} | {_tests(own)} | {_result(row, own, results)} |"
                )
        parts.append("")
    return "\n".join(parts).rstrip() + "\n"


def without_results(page: str) -> str:
    """What must always be so, whatever the last run has brought."""
    return re.sub(r" \| [^|]* \|$", " |", page, flags=re.MULTILINE)


def with_results_of(old: str, page: str) -> str:
    """A page with the results of an older one, where a row and its tests are the same in both.

    The older one may be two at once, as a merge leaves them: what was run counts.
    """
    kept: dict[str, str] = {}
    for line in old.splitlines():
        key = without_results(line)
        if key not in kept or not line.endswith(NOT_RUN):
            kept[key] = line
    return "".join(kept.get(without_results(line), line) + "\n" for line in page.splitlines())


def read_junit(xml: str) -> Results:
    """The results of a run, from pytest's ``--junitxml``."""
    results: dict[tuple[str, str], list[tuple[str, str]]] = {}
    for case in ElementTree.fromstring(xml).iter("testcase"):
        name, _, parameters = case.attrib["name"].partition("[")
        file = case.attrib["classname"].removeprefix("tests.").replace(".", "/") + ".py"
        bad = next((child.tag for child in case if child.tag in ("failure", "error", "skipped")), "passed")
        results.setdefault((file, name), []).append((parameters.removesuffix("]"), bad))
    return results


def _summary(rows: Sequence[Row], proofs: Sequence[Proof]) -> str:
    marked = {row for proof in proofs for row in proof.rows}
    ours = [row for row in rows if row.later is None]
    proven = [row for row in ours if row.id in marked]
    return (
        f"{len(proven)} of {len(ours)} rows have their tests; {len(rows) - len(ours)} more are for later.\n"
    )


def _tests(proofs: Sequence[Proof]) -> str:
    files = groupby(proofs, key=lambda proof: proof.file)
    return (
        "<br>".join(f"{file}: " + ", ".join(f"`{proof.name}`" for proof in own) for file, own in files) or "-"
    )


def _result(row: Row, proofs: Sequence[Proof], results: Results) -> str:
    if row.later is not None and not proofs:
        return f"later: {row.later}"
    if not proofs:
        return f"no test yet: {row.missing}"
    runs = [run for proof in proofs for run in results.get(proof.id, ())]
    unrun = [proof.name for proof in proofs if proof.id not in results]
    bad = Counter(outcome for _, outcome in runs if outcome != "passed")
    if unrun or bad:
        words = [f"**{count} {outcome}**" for outcome, count in sorted(bad.items())]
        missing = [", ".join(f"`{name}`" for name in unrun) if runs else "all"] if unrun else []
        return ", ".join([*words, *(f"{names} not run" for names in missing)])
    on = [backend for backend in BACKENDS if any(backend in parameters.split("-") for parameters, _ in runs)]
    control = ", control" if any(proof.control for proof in proofs) else ""
    return f"{len(runs)} passed{' on ' + ' and '.join(on) if on else ''}{control}"
