"""What the documentation says is so: its programs run, its files parse, its tables are the code's."""

from __future__ import annotations

import importlib
import inspect
import re
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

import pvdrace
from pvdrace.config import ADDRESS_TABLES, PvdConfig, parse
from pvdrace.config.policy_file import CONDITIONS, POLICY_KEYS, SHARED_TABLES
from pvdrace.config.probe_settings import DETECTORS, PROBE_LISTS, PROBE_VALUES, ProbeSettings
from pvdrace.config.proxy_settings import LISTEN_KEYS, PROXY_KEYS, USER_KEYS, ProxySettings
from pvdrace.config.pvds import OWN_KEYS
from pvdrace.config.tables import TABLE_KEYS
from pvdrace.lab import Lab
from pvdrace.lab.scenarios import SCENARIOS, build
from pvdrace.model import COST_FLAGS
from pvdrace.policy import CapacityProfile
from pvdrace.race.pacing import Pacing
from pvdrace.ranking import rank
from pvdrace.selectors import KINDS, Selector
from pvdrace.testing.scenario import blackhole, build_pvds, ok, pvd, refused, scenario

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = [*sorted(ROOT.glob("*.md")), *sorted(DOCS.glob("*.md"))]
EXAMPLE_HOST = '"www.example.com"'

page = pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)


def blocks(path: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", path.read_text("utf-8"), re.DOTALL | re.MULTILINE)


def programs(path: Path) -> list[str]:
    """The Python blocks that are whole programs."""
    return [
        block
        for block in blocks(path, "python")
        if re.search(r"^(anyio|asyncio)\.run\(", block, re.MULTILINE)
    ]


def table(path: Path, heading: str) -> list[list[str]]:
    """The rows of the first table under a heading, without its head; code spans lose their backticks."""
    text = path.read_text("utf-8")
    start = re.search(rf"^#+ {re.escape(heading)}$", text, re.MULTILINE)
    assert start is not None, f"{path.name} has no heading {heading!r}"
    lines = text[start.end() :].splitlines()
    first = next(n for n, line in enumerate(lines) if line.startswith("|"))
    assert not any(line.startswith("#") for line in lines[:first]), f"no table under {heading!r}"
    rows: list[list[str]] = []
    for line in lines[first + 2 :]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.strip().strip("|").split(" | ")])
    return rows


def code(cell: str) -> str:
    """The first code span of a cell."""
    found = re.match(r"`(.*?)`", cell)
    assert found is not None, f"{cell!r} does not begin with a code span"
    return found[1]


# ---------------------------------------------------------------------- links and blocks


@page
def test_every_link_leads_to_a_file_and_its_heading(path: Path) -> None:
    text = re.sub(r"^```.*?^```$", "", path.read_text("utf-8"), flags=re.DOTALL | re.MULTILINE)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if "://" in target:
            continue
        file, _, anchor = target.partition("#")
        there = (path.parent / file).resolve() if file else path
        assert there.exists(), f"{path.name}: {target}"
        if anchor:
            headings = re.findall(r"^#+ \[?(.*?)\]?$", there.read_text("utf-8"), re.MULTILINE)
            assert anchor in {re.sub(r"[^\w -]", "", h).lower().replace(" ", "-") for h in headings}, target


@page
def test_every_toml_block_is_a_configuration(path: Path) -> None:
    for block in blocks(path, "toml"):
        parse(block, path.name)


@page
def test_every_python_block_compiles(path: Path) -> None:
    for block in blocks(path, "python"):
        flags = 0x2000  # ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
        if "..." not in block:
            compile(block, path.name, "exec", flags)


def test_the_readme_fits_one_screen_before_its_first_heading() -> None:
    text = (ROOT / "README.md").read_text("utf-8")
    first, program = text.split("\n## ", 1)[0], programs(ROOT / "README.md")[0]
    assert len(first.splitlines()) <= 45
    assert len(program.splitlines()) == 12
    assert "make demo" in first
    assert "make test" in first


def test_the_architecture_knows_every_room_and_every_file_in_them() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text("utf-8").split("## Rooms")[1].split("## The core")[0]
    package = ROOT / "src" / "pvdrace"
    rooms = [path.name for path in package.iterdir() if (path / "__init__.py").exists()]
    assert [room for room in rooms if f"  {room}/ " not in text] == []
    files = [
        path
        for room in (
            ".",
            "config",
            "ranking",
            "race",
            "drivers",
            "net",
            "dns",
            "telemetry",
            "probes",
            "pictures",
        )
        for path in (package / room).glob("*.py")
    ]
    assert [path.name for path in files if path.name not in text and path.stem[0] != "_"] == []


# ---------------------------------------------------------------------- programs, in the lab


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with build("good") as running:
        yield running


@pytest.fixture(autouse=True)
def healthy(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    if "lab" in request.fixturenames:
        for link in request.getfixturevalue("lab"):
            link.heal()


def run_inside(lab: Lab, program: str, backend: str = "asyncio") -> str:
    """Run a program of the documentation in the lab, with its one change: the host."""
    assert EXAMPLE_HOST in program or "open_connection" not in program
    program = program.replace(EXAMPLE_HOST, f'"{lab.name}"')
    if backend == "trio":
        program, changes = re.subn(
            r"^(anyio\.run\([^)]*)\)", r'\1, backend="trio")', program, flags=re.MULTILINE
        )
        assert changes == 1
    process = lab.run([sys.executable, "-c", program])
    assert process.returncode == 0, process.stderr
    return process.stdout


def phrases(timeline: str) -> set[str]:
    """What a timeline says, without the times and without who answered."""
    found: set[str] = set()
    for line in timeline.splitlines():
        if moment := re.match(r" *[\d.]+ ms  (.*)", line):
            found |= {re.sub(r" \(from .*\)", "", part) for part in re.split(r" {3,}", moment[1])}
    return found


@pytest.mark.lab
@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_the_readme_program_prints_the_readme_timeline(lab: Lab, backend: str) -> None:
    """`eth`, the default, answers DNS and loses everything else, as the text above the timeline says."""
    lab["eth"].blackhole()
    (program,) = programs(ROOT / "README.md")
    shown = phrases(blocks(ROOT / "README.md", "text")[0])
    assert len(shown) == 13
    assert shown <= phrases(run_inside(lab, program, backend))


@pytest.mark.lab
def test_the_readme_fragments_run(lab: Lab, tmp_path: Path) -> None:
    """The piece with a Connector, inside an asynchronous function, beside a pvdrace.toml."""
    (piece,) = [block for block in blocks(ROOT / "README.md", "python") if "Connector(" in block]
    (tmp_path / "pvdrace.toml").write_text(lab.config(), "utf-8")
    body = "".join(f"    {line}\n" for line in piece.splitlines())
    program = (
        f"import anyio, pvdrace\nhost, port = {lab.name!r}, 443\nasync def main():\n{body}"
        "    print(connection.report.outcome, report.outcome)\nanyio.run(main)\n"
    )
    process = lab.run([sys.executable, "-c", program], cwd=tmp_path)
    assert process.stdout == "won won\n", process.stderr


@pytest.mark.lab
def test_the_readme_lab_runs(capsys: pytest.CaptureFixture[str]) -> None:
    (piece,) = [block for block in blocks(ROOT / "README.md", "python") if "with Lab(" in block]
    exec(compile(piece, "README.md", "exec"), {})
    assert capsys.readouterr().out == "28\n"


QUICKSTART = programs(DOCS / "quickstart.md")


CASES = [
    (number, backend)
    for number, program in enumerate(QUICKSTART)
    for backend in ("asyncio", "trio")
    if backend == "asyncio" or "anyio.run(" in program
]


@pytest.mark.lab
@pytest.mark.parametrize(("number", "backend"), CASES)
def test_the_quickstart_runs(lab: Lab, number: int, backend: str) -> None:
    assert run_inside(lab, QUICKSTART[number], backend) != ""


def test_every_block_of_the_quickstart_is_a_program() -> None:
    assert blocks(DOCS / "quickstart.md", "python") == QUICKSTART


@pytest.mark.lab
def test_the_tests_of_the_testing_page_pass() -> None:
    ran = 0
    for block in blocks(DOCS / "testing.md", "python"):
        names: dict[str, Any] = {}
        exec(compile(block, "testing.md", "exec"), names)
        for name, value in names.items():
            if name.startswith("test_"):
                value()
                ran += 1
    assert ran == 2


def test_the_replay_of_the_report_page() -> None:
    (block,) = blocks(DOCS / "report.md", "python")
    race = scenario(wifi=pvd(v6=blackhole, v4=ok(30)), lte=pvd(v6=ok(60)))
    exec(compile(block, "report.md", "exec"), {"text": race.report.to_json()})


def test_the_pictures_of_the_pictures_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (block,) = blocks(DOCS / "pictures.md", "python")
    monkeypatch.chdir(tmp_path)
    text = scenario(wifi=pvd(v6=blackhole, v4=ok(30))).report.to_json()
    exec(compile(block, "pictures.md", "exec"), {"text": text})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["race.html", "race.svg"]


def test_the_formats_of_the_pictures_page() -> None:
    from pvdrace.cli.pictures import FORMATS

    rows = table(DOCS / "pictures.md", "Looking at a race")
    assert [code(row[1]) for row in rows] == [f"--{name}" for name in FORMATS]
    assert [code(row[0]) for row in rows] == [f"to_{name}()" for name in FORMATS]


def test_the_drawing_of_the_readme_is_one_of_ours() -> None:
    """Made by the command that stands below it in docs/pictures.md."""
    drawn = (DOCS / "images" / "race.svg").read_text("utf-8")
    assert "www.example.test:443 over TLS: won by wifi in" in drawn
    style = re.search(r"<style>(.*?)</style>", drawn)
    now = re.search(r"<style>(.*?)</style>", scenario(wifi=pvd(v4=ok(30))).report.to_svg())
    assert style is not None and now is not None
    assert style[1] == now[1], "draw it again"
    assert "--svg docs/images/race.svg" in (DOCS / "pictures.md").read_text("utf-8")


def test_the_core_of_the_embedding_page() -> None:
    (block,) = blocks(DOCS / "embedding.md", "python")
    names: dict[str, Any] = {"pvds": build_pvds({"wifi": pvd(v4=ok(30))}), "now": 1.5}
    exec(compile(block, "embedding.md", "exec"), names)
    assert [action.type for action in names["actions"]] == ["AAAA", "A"]


def test_the_policy_of_the_policy_page() -> None:
    block, choose, _ = blocks(DOCS / "policy.md", "python")
    names: dict[str, Any] = {"pvdrace": pvdrace}
    exec(block, names)
    exec(choose, names)
    assert names["policy"].families == (6,)


# ---------------------------------------------------------------------- configuration and policy

CONFIGURATION = DOCS / "configuration.md"


def test_every_key_of_a_configuration_is_documented() -> None:
    top = ["discover", "profile", *SHARED_TABLES, "address_table", "pvd", "probe", "proxy"]
    assert [code(row[0]) for row in table(CONFIGURATION, "Top level")] == top
    assert [code(row[0]) for row in table(CONFIGURATION, "`[[pvd]]`")] == [f.name for f in fields(PvdConfig)]
    assert [code(row[0]) for row in table(CONFIGURATION, "`[policy]`")] == list(POLICY_KEYS)
    assert [code(row[0]) for row in table(CONFIGURATION, "`[[rule]]`")] == ["match"]
    assert [code(row[0]) for row in table(CONFIGURATION, "`[[override]]`")] == ["match"]
    text = CONFIGURATION.read_text("utf-8").split("## `[[override]]`")[1].split("\n| ")[0]
    assert set(re.findall(r"`(\w+)`", text)) == set(OWN_KEYS)
    shown = tomllib.loads(blocks(CONFIGURATION, "toml")[0])
    assert set(shown) == set(top)
    assert [code(row[0]) for row in table(CONFIGURATION, "`[[address_table]]`")] == list(TABLE_KEYS)
    assert list(shown["address_table"][0]) == list(TABLE_KEYS)
    assert list(shown["pvd"][0]) == [f.name for f in fields(PvdConfig)]
    assert list(shown["rule"][0]) == ["match", *POLICY_KEYS]
    assert list(shown["rule"][0]["match"]) == list(CONDITIONS)
    keys = [code(row[0]) for row in table(CONFIGURATION, "`[probe]`")]
    assert set(keys) == set(shown["probe"]) == {*PROBE_VALUES, *PROBE_LISTS}
    assert (
        [code(row[0]) for row in table(CONFIGURATION, "`[proxy]`")]
        == list(PROXY_KEYS)
        == list(shown["proxy"])
    )
    assert [code(row[0]) for row in table(CONFIGURATION, "`[[proxy.listen]]`")] == list(LISTEN_KEYS)
    assert [code(row[0]) for row in table(CONFIGURATION, "`[[proxy.user]]`")] == list(USER_KEYS)
    assert {*shown["proxy"]["listen"][0], "profile"} == {*LISTEN_KEYS}
    assert {*shown["proxy"]["user"][0], "policy"} == {*USER_KEYS}
    names = {code(row[0]): row[1] for row in table(CONFIGURATION, "`[policy]`")}["capacity_profile"]
    assert re.findall(r"`([\w-]+)`", names) == [kind.value for kind in CapacityProfile]


def test_the_defaults_of_the_proxy_are_documented() -> None:
    left_out = {code(row[0]): row[2] for row in table(CONFIGURATION, "`[proxy]`")}
    settings = ProxySettings()
    for key in ("max_connections", "handshake_timeout", "connect_timeout", "idle_timeout", "drain_timeout"):
        assert float(left_out[key]) == getattr(settings, key)
    for key in ("allow_remote", "allow_local"):
        assert left_out[key] == f"`{str(getattr(settings, key)).lower()}`"
    assert tuple(int(port) for port in left_out["tls_ports"].split(", ")) == settings.tls_ports
    assert [f"`{listen}`" for listen in settings.listen] == [left_out["listen"]]


def test_the_detectors_and_times_of_probes_are_documented() -> None:
    from pvdrace.probes import schedule

    page = DOCS / "probes.md"
    rows = {code(row[0]): re.findall(r"`(http\S+)`", row[1]) for row in table(page, "Off unless you say so")}
    assert rows == {name: [url for url in d[:2] if url] for name, d in DETECTORS.items()}
    words = {code(row[0]): row[1] for row in table(CONFIGURATION, "`[probe]`")}["detector"]
    assert re.findall(r"`(\w+)`", words) == list(DETECTORS)
    told = {
        name: float(number)
        for row in table(page, "When")
        for name, number in re.findall(r"`(\w+)` = (\d+)", row[1])
    }
    settings = ProbeSettings()
    assert told == {
        "CHANGE_GAP": schedule.CHANGE_GAP,
        "FIRST_WAIT": schedule.FIRST_WAIT,
        "SUSPICION_GAP": schedule.SUSPICION_GAP,
        "interval": settings.interval,
        "recheck": settings.recheck,
    }
    left_out = {code(row[0]): row[2] for row in table(CONFIGURATION, "`[probe]`")}
    for key in ("interval", "recheck", "timeout"):
        assert float(left_out[key]) == getattr(settings, key)


def test_every_word_of_a_configuration_is_documented() -> None:
    rows = {code(row[0]): row[1] for row in table(CONFIGURATION, "`[[pvd]]`")}
    assert set(re.findall(r"`(\w+)`", rows["cost_flags"])) == COST_FLAGS
    assert re.findall(r"`(\w+)`", rows["cost"]) == [kind.value for kind in pvdrace.CostClass]
    built_in = rows["address_table"].partition(";")[0]
    assert re.findall(r"`([\w.-]+)`", built_in) == list(ADDRESS_TABLES)


@pytest.mark.parametrize("row", table(CONFIGURATION, "Errors"), ids=lambda row: row[0])
def test_every_documented_error_of_a_configuration(row: list[str]) -> None:
    text = code(row[0]).replace(" ⏎ ", "\n")
    with pytest.raises(pvdrace.ConfigurationError) as caught:
        parse(text)
    assert re.fullmatch(r"pvdrace\.toml:\d+: (.*)", str(caught.value))[1] == code(row[1])  # type: ignore[index]


def test_the_error_of_a_file_that_is_not_there() -> None:
    with pytest.raises(pvdrace.ConfigurationError, match=r"^/none/pvdrace\.toml: No such file or directory$"):
        pvdrace.Connector("/none/pvdrace.toml")


def test_every_kind_of_selector_is_documented() -> None:
    rows = [code(row[0]) for row in table(DOCS / "policy.md", "Selectors")]
    assert tuple(text.split(":")[0] for text in rows) == KINDS


def test_every_documented_error_of_a_selector() -> None:
    text = (DOCS / "policy.md").read_text("utf-8").split("| what is said |")[1].split("\n## ")[0]
    found = re.findall(r"^\| `(.*?)` \| `(.*?)` \|$", text, re.MULTILINE)
    assert len(found) == 4
    for selector, said in found:
        with pytest.raises(ValueError) as caught:
            Selector.parse(selector)
        assert str(caught.value) == said


def test_the_rules_of_the_ranking_are_documented() -> None:
    from pvdrace import policy
    from pvdrace.ranking import filters as rank_filters
    from pvdrace.ranking import rules as rank_rules

    page = DOCS / "policy.md"
    usual = [code(row[0]) for row in table(page, "In which order the others run")]
    optional = [code(row[0]) for row in table(page, "Other orders")]
    assert usual == [rule.name for rule in rank_rules.RULES]
    assert optional == [rule.name for rule in rank_rules.OPTIONAL_RULES]
    assert [*usual, *optional] == list(policy.RANKING_RULES)
    filters = {code(row[0]) for row in table(page, "Who is left out")}
    assert filters == set(re.findall(r'Reason\(\s*"(\w+)"', inspect.getsource(rank_filters)))


def test_the_capacity_profiles_are_documented() -> None:
    from pvdrace.capacity import TERMS

    rows = {
        code(row[0]): (float(row[1]), row[2] != "never") for row in table(DOCS / "policy.md", "Head starts")
    }
    assert rows == {profile.value: tuple(terms) for profile, terms in TERMS.items()}


# ---------------------------------------------------------------------- the race, DNS, the report


def test_the_numbers_of_the_race() -> None:
    rows = {code(row[0]): float(row[1]) for row in table(DOCS / "race.md", "Numbers")}
    assert rows == {f.name: getattr(Pacing(), f.name) for f in fields(Pacing)}


def test_the_numbers_of_dns() -> None:
    for name, seconds, _ in table(DOCS / "dns.md", "Who is asked"):
        module, _, constant = code(name).rpartition(".")
        assert getattr(importlib.import_module(module), constant) == float(seconds), name
    assert inspect.signature(pvdrace.Connector).parameters["dns_timeout"].default == 5.0


def race_clauses() -> Iterator[list[str]]:
    for heading in (
        "Inside one PvD: RFC 8305",
        "Its successor: draft-ietf-happy-happyeyeballs-v3",
        "Across PvDs: RFC 9623 and RFC 7556",
    ):
        yield from table(DOCS / "race.md", heading)


@pytest.mark.parametrize("row", list(race_clauses()), ids=lambda row: f"{row[0]}: {row[1]}")
def test_every_clause_has_its_code_and_its_test(row: list[str]) -> None:
    clause, file, test = row[0].split()[-1], ROOT / "src" / "pvdrace" / code(row[2]), row[3]
    text = file.read_text("utf-8")
    named = {clause, re.sub(r"\.\d+$", "", clause)}  # itself, or the section that it is in
    assert any(re.search(rf"\b{re.escape(name)}\b", text) for name in named), f"{file.name} names no {clause}"
    if test.startswith("`"):
        everything = "".join(path.read_text("utf-8") for path in (ROOT / "tests").glob("test_*.py"))
        assert f"def {code(test)}(" in everything


def test_deliberate_deviations_are_all_listed() -> None:
    source = (ROOT / "src").rglob("*.py")
    found = sum(path.read_text("utf-8").count("Deliberate:") for path in source if "lab" not in path.parts)
    listed = len(table(DOCS / "race.md", "Deliberate deviations"))
    assert found == listed, f"{found} comments say Deliberate:, docs/race.md lists {listed}"


REPORT = DOCS / "report.md"


@pytest.fixture(scope="module")
def report() -> dict[str, Any]:
    """One with something in every list."""
    race = scenario(
        policy=pvdrace.Policy(prohibit=["pvd:vpn"]),
        wifi=pvd(v6=refused(10), v4=ok(30), routes=build_pvds({"x": pvd()})["x"].routes[1:]),
        lte=pvd(v6=ok(60)),
        vpn=pvd(v6=ok(1)),
    )
    value = race.report.to_dict()
    assert all(value[key] for key in ("winner", "ranking", "lookups", "attempts", "skipped"))
    return value


def test_every_key_of_a_report_is_documented(report: dict[str, Any]) -> None:
    assert [code(row[0]) for row in table(REPORT, "Keys of the report")] == list(report)
    assert [code(row[0]) for row in table(REPORT, "Keys of `winner`")] == list(report["winner"])
    for key in ("lookups", "attempts", "skipped"):
        assert {code(row[0]) for row in table(REPORT, f"Keys of `{key}`")} == set(report[key][0])
    ran, left_out = report["ranking"][0], report["ranking"][-1]
    documented = [code(row[0]) for row in table(REPORT, "Keys of `ranking`")]
    assert documented == list(left_out)
    assert documented[: -len({"excluded", "excluded_by"})] == list(ran)


def test_the_attributes_of_a_report_exist(report: dict[str, Any]) -> None:
    race = scenario(wifi=pvd(v4=ok(30)))
    for row in table(REPORT, "As a value"):
        for name in re.findall(r"`(\w+)(?:\(\))?`", row[0]):
            assert hasattr(race.report, name)


# ---------------------------------------------------------------------- the command line

CLI = DOCS / "cli.md"


def test_the_options_of_every_command_are_documented() -> None:
    from pvdrace.cli.app import app

    def options(command: Any) -> set[str]:
        return {p.opts[0] for p in command.params if p.param_type_name == "option"}

    assert {code(row[0]) for row in table(CLI, "pvdrace")} == options(app)
    documented = re.findall(r"^### pvdrace (\w+)$", CLI.read_text("utf-8"), re.MULTILINE)
    assert sorted(documented) == sorted(app.commands)
    for name in set(documented) - {"lab"}:
        assert {code(row[0]) for row in table(CLI, f"pvdrace {name}")} == options(app.commands[name]), name


def test_the_exit_codes_are_documented() -> None:
    from pvdrace.cli import exits

    values = {value for name, value in vars(exits).items() if name.isupper() and isinstance(value, int)}
    assert {int(row[0]) for row in table(CLI, "Exit codes")} == values


def test_the_scenarios_that_are_named_exist() -> None:
    for path in PAGES:
        for name in re.findall(r"pvdrace lab run ([a-z][\w-]*)", path.read_text("utf-8")):
            assert name in SCENARIOS, f"{path.name}: {name}"


def test_the_first_pvd_without_policy_needs_no_reason() -> None:
    """The ranking that the pages describe: unmetered before unknown, which is staggered behind it."""
    pvds = build_pvds({"a": pvd(cost="variable"), "b": pvd(), "c": pvd(cost="unmetered")})
    ranking = rank(pvds, pvdrace.model.Endpoint("www.example.com", 443))
    assert [(r.pvd.name, r.head_start) for r in ranking.ranked] == [("c", 0.0), ("b", 0.25), ("a", 2.0)]


def test_the_functions_of_the_module_take_what_those_of_a_connector_take() -> None:
    for name in ("open_connection", "connect"):
        of_module = inspect.signature(getattr(pvdrace, name)).parameters
        of_connector = inspect.signature(getattr(pvdrace.Connector, name)).parameters
        assert list(of_module.values()) == list(of_connector.values())[1:]


# ---------------------------------------------------------------------- the lab


@pytest.mark.lab
def test_the_program_of_the_labs_page_runs(capsys: pytest.CaptureFixture[str]) -> None:
    (program,) = blocks(DOCS / "lab.md", "python")
    exec(compile(program, "lab.md", "exec"), {})
    code_of_curl, syns, packets = map(int, capsys.readouterr().out.split())
    assert (code_of_curl, packets) == (28, 0)
    assert syns > 0


def test_the_labs_page_names_every_scenario_fault_and_dns_mode() -> None:
    from pvdrace.lab.link import DNS_MODES, Link

    text = (DOCS / "lab.md").read_text("utf-8")
    section = text.split("\n## Scenarios\n")[1].split("\n## ")[0]
    assert set(re.findall(r"`([a-z0-9-]+)`", section)) == set(SCENARIOS)
    calls = {
        name
        for row in table(DOCS / "lab.md", "What can go wrong")
        for name in re.findall(r"`(\w+)\(", row[0])
    }
    faults = {name for name, value in vars(Link).items() if inspect.isfunction(value) and name[0] != "_"}
    assert calls == faults - {"counters", "packets"}
    assert set(re.findall(r"`([a-z-]+)`", text.split("\nDNS modes")[1].split("\n\n")[0])) >= set(DNS_MODES)
