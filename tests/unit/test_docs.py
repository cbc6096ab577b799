"""The docs and the code say the same: options and defaults, facts, errors, promises, and links that lead somewhere."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
import yaml

import redis_streams_aio
from redis_streams_aio import (
    ConfigError,
    RedisStreamsError,
    Retention,
    RetryPolicy,
    Settings,
    StreamSettings,
    config,
    telemetry,
)
from redis_streams_aio.events import keys, wire_format
from redis_streams_aio.handlers.options import HandlerOptions
from redis_streams_aio.handlers.subscription_options import SubscriptionOptions
from redis_streams_aio.testing.conformance import table as conformance
from tests.docs import errors
from tests.docs.prose import GENERATED

ROOT = Path(__file__).parent.parent.parent
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.glob("*.md"))]
NAME_OF_CODE = re.compile(r"`([^`]+)`")


# -- reading Markdown -------------------------------------------------------------------------------------------


def text(page: Path) -> str:
    """A page without its code blocks."""
    return re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)


def section(page: Path, heading: str) -> str:
    """What stands below a heading, up to the next one."""
    _, found, rest = text(page).partition(f"\n## {heading}\n")
    assert found, f"{page.name} has no section {heading!r}"
    return re.split(r"^##+ ", rest, maxsplit=1, flags=re.MULTILINE)[0]


def rows(markdown: str) -> list[list[str]]:
    """The cells of all table rows, without headers."""
    tables = re.findall(r"^\|.*\|\n\|-.*\|\n((?:\|.*\|\n?)+)", markdown, re.MULTILINE)
    assert tables, "no table"
    return [[cell.strip() for cell in row.strip("|").split("|")] for table in tables for row in table.splitlines()]


def code(cell: str) -> str:
    """The first code word of a cell."""
    found = NAME_OF_CODE.match(cell)
    assert found, f"no code in {cell!r}"
    return found[1]


# -- options ----------------------------------------------------------------------------------------------------

RECORDS = {
    "`Settings`": Settings,
    "`StreamSettings`": StreamSettings,
    "`Retention`": Retention,
    "Handler options": HandlerOptions,
    "`RetryPolicy`": RetryPolicy,
}


@pytest.mark.parametrize(("heading", "record"), RECORDS.items())
def test_every_option_is_documented_with_its_default(heading: str, record: type[msgspec.Struct]) -> None:
    documented = {code(row[0]): row[2] for row in rows(section(DOCS / "configuration.md", heading))}
    fields = {field.name: field for field in msgspec.structs.fields(record)}
    assert list(documented) == list(fields), "the same options, in the same order"
    from_yaml = record in (Settings, StreamSettings, Retention)
    for name, cell in documented.items():
        if fields[name].required:
            assert cell == "required", name
        else:
            said = yaml.safe_load(code(cell)) if from_yaml else eval(code(cell), {"RetryPolicy": RetryPolicy})
            default = default_of(fields[name])
            assert said == ([] if from_yaml and default == () else default), name


def default_of(field: msgspec.structs.FieldInfo) -> object:
    return field.default_factory() if field.default is msgspec.NODEFAULT else field.default


@pytest.mark.parametrize("record", [Settings, StreamSettings, Retention])
def test_what_is_allowed_is_documented(record: type[msgspec.Struct]) -> None:
    schema = msgspec.json.schema(record)["$defs"][record.__name__]
    allowed = {code(row[0]): row[3] for row in rows(section(DOCS / "configuration.md", f"`{record.__name__}`"))}
    for name, described in schema["properties"].items():
        variants = described.get("anyOf", [described])
        bounds = {
            str(bound)
            for variant in variants
            for word, bound in variant.items()
            if word in ("minimum", "maximum", "exclusiveMinimum", "minLength", "maxLength")
        }
        assert set(re.findall(r"\d+", allowed[name])) == bounds, name


def test_what_belongs_to_the_subscription_is_documented() -> None:
    table = rows(section(DOCS / "configuration.md", "Handler options"))
    documented = {code(row[0]) for row in table if row[3] == "yes"}
    assert documented == set(SubscriptionOptions.__struct_fields__)


def test_the_configuration_file_names_every_setting_with_its_default() -> None:
    document = yaml.safe_load((ROOT / "config.yaml").read_text(encoding="utf-8"))
    assert list(document) == ["redis_streams"]
    assert list(document["redis_streams"]) == list(Settings.__struct_fields__)
    assert config.load(ROOT / "config.yaml", {}) == Settings()


def test_the_example_of_the_configuration_file_names_every_option_of_a_stream() -> None:
    lines = (ROOT / "config.yaml").read_text(encoding="utf-8").splitlines()
    begin = lines.index("  # streams:")
    example = [line.replace("  # ", "  ", 1) for line in lines[begin : begin + lines[begin:].index("")]]
    streams = yaml.safe_load("\n".join(example))["streams"]
    assert [list(options) for options in streams.values()] == [list(StreamSettings.__struct_fields__)]
    assert msgspec.convert({"streams": streams}, Settings).streams


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_configuration_in_the_docs_is_valid(page: Path, tmp_path: Path) -> None:
    for block in re.findall(r"^```yaml\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL):
        if "redis_streams:" in block:
            file = tmp_path / "config.yaml"
            file.write_text(block)
            config.load(file, {})


@pytest.mark.parametrize("wrong", ["blok_ms: 500", "block_ms: 2s"])
def test_the_errors_that_the_docs_show_are_those_that_come(wrong: str, tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(f"redis_streams:\n  {wrong}\n")
    with pytest.raises(ConfigError) as raised:
        config.load(file, {})
    shown = str(raised.value).replace(str(file), "config.yaml")
    assert shown in (DOCS / "configuration.md").read_text(encoding="utf-8").splitlines()


# -- facts, errors, names ---------------------------------------------------------------------------------------


def facts() -> Iterator[type[telemetry.Fact]]:
    """Return the facts that users may meet: all but their base classes."""
    for one in map(vars(telemetry).get, telemetry.__all__):
        if isinstance(one, type) and issubclass(one, telemetry.Fact) and one.__module__ != telemetry.bases.__name__:
            yield one


def test_every_fact_is_documented_with_its_level_and_fields() -> None:
    listed = rows(section(DOCS / "observability.md", "Facts"))
    table = {code(row[0]): row for row in listed}
    assert sorted(code(row[0]) for row in listed) == sorted(fact.__name__ for fact in facts()), "each once"
    for fact in facts():
        _, level, fields, _ = table[fact.__name__]
        assert level == logging.getLevelName(fact.level), fact
        assert NAME_OF_CODE.findall(fields) == list(fact.__struct_fields__), fact


def test_the_error_table_names_every_public_error() -> None:
    documented = [code(row[0]) for row in rows(section(DOCS / "errors.md", "Errors"))]
    public = {
        name
        for name in redis_streams_aio.__all__
        if isinstance(one := getattr(redis_streams_aio, name), type) and issubclass(one, RedisStreamsError)
    }
    assert set(documented) == public
    assert len(documented) == len(public), "each once"


def test_the_page_of_errors_and_log_lines_is_up_to_date() -> None:
    assert GENERATED.read_text(encoding="utf-8") == errors.page(), "run python -m tests.docs.errors"


def test_every_error_and_every_warning_says_what_to_do() -> None:
    told = [*rows(section(GENERATED, "Errors")), *rows(section(GENERATED, "Log lines of facts"))]
    assert [row for row in told if row[0] not in ("INFO", "DEBUG") and not row[-1]] == []


def test_every_public_name_is_in_the_docs() -> None:
    everything = "".join(page.read_text(encoding="utf-8") for page in PAGES)
    missing = [
        name
        for name in redis_streams_aio.__all__
        if name != "__version__" and not re.search(rf"\b{name}\b", everything)
    ]
    assert missing == []


# -- wire format ------------------------------------------------------------------------------------------------


def test_the_fields_of_an_entry_are_documented_in_their_order() -> None:
    extras = wire_format.extras(key="k", event_id="i", headers={"<name>": "h"})
    fields = [*wire_format.compose("E", b"p", content_type="c"), *extras]
    names = [name.decode() if isinstance(name, bytes) else name for name in fields[::2]]
    assert [code(row[0]) for row in rows(section(DOCS / "wire-format.md", "Entries"))] == names


def test_the_keys_beside_a_stream_are_documented() -> None:
    documented = [code(row[0]) for row in rows(section(DOCS / "wire-format.md", "Keys beside a stream"))]
    named = (
        *(keys.dead_letters, keys.failures, keys.checkpoint, keys.releases),
        *(keys.leases, keys.parked, keys.controls, keys.deleted),
    )
    assert documented == [key("<stream>", "<group>") for key in named]


# -- promises ---------------------------------------------------------------------------------------------------


def test_every_promise_is_there_once_with_its_status() -> None:
    page = (DOCS / "promises.md").read_text(encoding="utf-8")
    promised = [int(number) for number in re.findall(r"^- \*\*P(\d+)\b", page, re.MULTILINE)]
    assert promised == list(range(1, 29))
    status = [row for row in rows(text(DOCS / "promises.md")) if re.fullmatch(r"P\d+", row[0])]
    assert [row[0] for row in status] == [f"P{number}" for number in promised]
    assert {row[1] for row in status} <= {"kept", "partly", "not yet"}
    assert all(len(row) == 4 and row[3] for row in status)


# -- links ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\[[^\]]*\]\(([^)\s]+)\)|(?:src|srcset|href)=\"([^\"]+)\"", text(page))
    for link in (markdown or html for markdown, html in links):
        if "://" in link:
            continue
        file, _, anchor = link.partition("#")
        target = (page.parent / file) if file else page
        assert target.exists(), f"{page.name}: {link}"
        if anchor:
            assert anchor in anchors(target), f"{page.name}: {link}"


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub makes of the headings."""
    headings = re.findall(r"^#+ (.*)$", text(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_page_can_be_reached_from_the_readme() -> None:
    seen: set[Path] = set()
    waiting = [ROOT / "README.md"]
    while waiting:
        page = waiting.pop().resolve()
        if page.suffix == ".md" and page.exists() and page not in seen:
            seen.add(page)
            links = re.findall(r"\]\(([^)#\s]+)", text(page))
            waiting += [page.parent / link for link in links if "://" not in link]
    assert {page.resolve() for page in DOCS.glob("*.md")} <= seen


def test_the_tests_that_promises_are_shown_by_are_there() -> None:
    """`test_p12_…` in [file](path): some test of that file begins so, or names the promise beside another one."""
    page = DOCS / "promises.md"
    named = re.findall(r"`(test_\w+)…` in \[[\w.]+\]\(([^)]+)\)", page.read_text())
    assert len(named) > 40
    for beginning, file in named:
        tests = re.findall(r"^(?:async )?def (test_\w+)", (page.parent / file).read_text(), re.MULTILINE)
        assert any(beginning.removeprefix("test") in test for test in tests), f"{beginning}… is not in {file}"


def test_the_acceptance_list_is_the_beginning_of_the_conformance_suite() -> None:
    named = re.findall(r"^\| (\d+) \|.*`(test_\d\d_)…` \|$", (DOCS / "promises.md").read_text(), re.MULTILINE)
    assert named == [(str(test.number), test.name[: len("test_00_")]) for test in conformance.suite()[:16]]


# -- conformance ------------------------------------------------------------------------------------------------


def test_the_table_of_results_has_the_tests_of_the_suite() -> None:
    shown = [row[:3] for row in rows(section(DOCS / "conformance.md", "Results"))]
    tests = conformance.suite()
    assert shown == [[str(test.number), test.title, test.promises] for test in tests]
    assert [test.number for test in tests] == list(range(1, len(tests) + 1)), "each number once, and none left out"
    assert all(test.promises for test in tests)


def test_nothing_in_the_table_of_results_has_failed_or_was_not_run() -> None:
    cells = [cell for row in rows(section(DOCS / "conformance.md", "Results")) for cell in row[3:]]
    assert cells
    assert all(cell == conformance.PASSED or re.fullmatch(r"-\[\^\d+\]", cell) for cell in cells)
