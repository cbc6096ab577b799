"""The lock: what the README's commands install is pinned, hashed, and all of it."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parent.parent.parent
LOCKS = ROOT / "requirements"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
PIN = re.compile(r"^(?P<name>[a-z0-9][a-z0-9.-]*)==(?P<version>[^ ;\\]+)", re.MULTILINE)


def locked(name: str) -> dict[str, str]:
    """Versions by package."""
    return {found["name"]: found["version"] for found in PIN.finditer((LOCKS / name).read_text("utf-8"))}


def declared(*, groups: set[str]) -> Iterator[Requirement]:
    """All that the package, its extras and these dependency groups name."""
    extras = PROJECT["project"]["optional-dependencies"].values()
    of_groups = [PROJECT["dependency-groups"][group] for group in groups]
    for requirements in (PROJECT["project"]["dependencies"], *extras, *of_groups):
        yield from map(Requirement, requirements)


@pytest.mark.parametrize(
    ("lock", "groups"),
    [("all.txt", set(PROJECT["dependency-groups"])), ("lowest.txt", {"test"})],
)
def test_the_lock_has_everything_that_is_declared_within_its_range(lock: str, groups: set[str]) -> None:
    """Whoever adds a dependency and forgets `nox -s lock` is told here."""
    versions = locked(lock)
    for requirement in declared(groups=groups):
        name = re.sub(r"[-_.]+", "-", requirement.name).lower()
        assert name in versions, f"{requirement} is not locked: nox -s lock"
        assert requirement.specifier.contains(versions[name]), f"{requirement}, but {versions[name]} is locked"


def test_what_builds_the_package_is_locked() -> None:
    """The README's demo builds it with what was installed from the lock, not with the newest there is."""
    assert PROJECT["build-system"]["requires"] == PROJECT["dependency-groups"]["build"]
    assert {Requirement(each).name for each in PROJECT["dependency-groups"]["build"]} <= locked("demo.txt").keys()


@pytest.mark.parametrize("lock", ["all.txt", "lowest.txt", "gate.txt", "demo.txt"])
def test_every_locked_version_has_hashes_and_no_address(lock: str) -> None:
    text = (LOCKS / lock).read_text("utf-8")
    assert "://" not in text
    assert "--index-url" not in text
    pins = re.split(r"^(?=\S)", text, flags=re.MULTILINE)[1:]
    assert len(pins) > 10
    assert all("--hash=sha256:" in pin for pin in pins)


@pytest.mark.parametrize("part", ["gate.txt", "demo.txt"])
def test_what_the_readmes_commands_install_is_a_part_of_the_whole_lock(part: str) -> None:
    command = f"-r requirements/{part}"
    assert command in (ROOT / "README.md").read_text("utf-8")
    assert locked(part).items() <= locked("all.txt").items()
