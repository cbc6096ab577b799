"""What runs of nox came to, from their output: each session with its end and its tests, and all tests in the last line.

`python3 .ci/summary.py LOG` prints it. The last line is `N passed, N failed`: an error of pytest's counts as a failure.
"""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

BEGAN = re.compile(r"nox > Running session (?P<name>.+)$")
ENDED = re.compile(r"nox > Session (?P<name>.+?) (?:was (?P<good>successful.*)|(?P<bad>failed.*|aborted.*))\.$")
SKIPPED = re.compile(r"nox > Session (?P<name>.+?) skipped: (?P<why>.+)$")
COUNTED = re.compile(r"^(?:=+ )?\d+ (?:passed|failed|skipped|deselected|errors?|xfailed|warnings?)\b.* in [\d.]+s\b")
NUMBER = re.compile(r"(?P<number>\d+) (?P<what>passed|failed|skipped|error)")
COLOUR = re.compile(r"\x1b\[[\d;]*m")


@dataclass
class Session:
    """One session of nox."""

    name: str
    end: str = "did not end"
    tests: Counter[str] = field(default_factory=Counter)

    def __str__(self) -> str:
        counted = ", ".join(f"{number} {what}" for what, number in self.tests.items())
        return f"{self.name}: {self.end}" + (f", {counted}" if counted else "")


def read(lines: Iterable[str]) -> tuple[list[Session], list[str]]:
    """The sessions that ran, and why others did not.

    Of each command the last summary counts: a test that fails may show the output of a pytest that it has run itself.
    """
    ran: list[Session] = []
    left_out: list[str] = []
    counted = ""
    for line in (COLOUR.sub("", line).rstrip() for line in (*lines, "nox > end")):
        if COUNTED.match(line):
            counted = line
        elif line.startswith("nox > "):
            if counted and ran:
                ran[-1].tests += Counter({found["what"]: int(found["number"]) for found in NUMBER.finditer(counted)})
            counted = ""
            if found := SKIPPED.match(line):
                left_out.append(f"{found['name']}: {found['why']}")
                ran = [session for session in ran if session.name != found["name"]]
            elif found := BEGAN.match(line):
                ran.append(Session(found["name"]))
            elif found := ENDED.match(line):
                # the last of that name: those that `gate` runs begin and end within it
                session = [each for each in ran if each.name == found["name"]][-1]
                session.end = found["good"] or found["bad"].upper()
    return ran, left_out


def main(log: Path) -> None:
    """Print it."""
    ran, left_out = read(log.read_text("utf-8", errors="replace").splitlines())
    total = sum((session.tests for session in ran), Counter[str]())
    print("\nsession by session:", *ran, sep="\n  ")
    print("not run:", *(left_out or ["nothing was left out"]), sep="\n  ")
    print(f"{total['passed']} passed, {total['failed'] + total['error']} failed")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
