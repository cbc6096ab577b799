"""The report of a run: text for people, and what the picture is made of."""

from __future__ import annotations

from tests.chaos.verdict import Gap, Verdict

_SHOWN = 10


def text(verdict: Verdict, headline: str, began: float) -> str:
    """The whole report; `began` is the time that seconds are counted from."""
    parts = [
        headline,
        "",
        *(f"{what:>20} {count:>8,}" for what, count in verdict.counts.items()),
        "",
        "duplicates by cause: " + (_listed(verdict) or "none"),
        f"longest gap: {_gap(verdict.gap, began)}",
        *(f"{'on ' + gap.line:>20} {_gap(gap, began)}" for gap in verdict.gaps),
        "",
        *(
            f"{kind:>25} {len(found):>4}{'' if not found else '  VIOLATED'}"
            for kind, found in verdict.violations.items()
        ),
        *(f"\n{kind}:\n" + _first(found) for kind, found in verdict.violations.items() if found),
        "",
        "passed" if verdict.passed else "FAILED",
    ]
    return "\n".join(parts) + "\n"


def _listed(verdict: Verdict) -> str:
    return ", ".join(f"{cause} {count}" for cause, count in verdict.duplicates.most_common())


def _gap(gap: Gap, began: float) -> str:
    return f"{gap.seconds:.1f} s from second {gap.began - began:.1f}"


def _first(found: list[str]) -> str:
    more = [f"  and {len(found) - _SHOWN} more"] if len(found) > _SHOWN else []
    return "\n".join([f"  {one}" for one in found[:_SHOWN]] + more)
