"""Table and figure of the rounds of use, from their result files alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from ..froc import froc_mean, ratio
from .rounds import RoundsRecord


def rows(records: Sequence[RoundsRecord]) -> list[dict[str, float | str]]:
    """For each round, with trusted negatives and without: means over seeds, of decisions and what came of them.

    ``recovered`` and ``decisions`` count from the beginning; ``missing`` is a part of what was missing then.
    """
    found: list[dict[str, float | str]] = []
    for trusted in (True, False):
        runs = [record for record in records if record.trusted is trusted]
        for number in range(len(runs[0].rounds) if runs else 0):
            so_far = [[r.decided for r in run.rounds[: number + 1] if r.decided] for run in runs]
            decisions = np.array([sum(d.decisions for d in made) for made in so_far], float)
            recovered = np.array([sum(d.recovered for d in made) for made in so_far], float)
            wrong = np.array([sum(d.accepted_others for d in made) for made in so_far], float)
            missing = ratio(*np.array([(run.rounds[number].missing, run.rounds[0].missing) for run in runs], float).T)
            froc = [froc_mean([case.result() for case in run.rounds[number].test]) for run in runs]
            found.append(
                {
                    "rejected": "trusted" if trusted else "forgotten",
                    "round": number,
                    "seeds": len(runs),
                    "decisions": float(decisions.mean()),
                    "recovered": float(recovered.mean()),
                    "recovered_per_100": float(100 * ratio(recovered, decisions).mean()),
                    "wrongly_accepted": float(wrong.mean()),
                    "missing": float(np.mean(missing)),
                    "froc": float(np.mean(froc)),
                    "froc_low": float(np.min(froc)),
                    "froc_high": float(np.max(froc)),
                }
            )
    return found


def write_table(records: Sequence[RoundsRecord], out: Path) -> None:
    """``table.md`` and ``rounds.png`` in ``out``; nothing where there is no result."""
    found = rows(records)
    if not found:
        return
    lines = [
        "| rejected suggestions | round | seeds | decisions | lesions recovered | a hundred decisions | wrongly accepted "
        "| still missing | mean of the FROC (range) |",
        "| --- |" + " ---: |" * 8,
    ]
    for row in found:
        missing = "" if np.isnan(row["missing"]) else f"{100 * float(row['missing']):.0f} %"  # where none was
        rate = f"{row['recovered_per_100']:.1f}" if row["decisions"] else ""
        lines.append(
            f"| {row['rejected']} | {row['round']} | {row['seeds']} | {row['decisions']:.0f} | {row['recovered']:.0f} "
            f"| {rate} | {row['wrongly_accepted']:.0f} | {missing} "
            f"| {row['froc']:.3f} ({row['froc_low']:.3f} to {row['froc_high']:.3f}) |"
        )
    (out / "table.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    for kind in ("trusted", "forgotten"):
        here = [row for row in found if row["rejected"] == kind]
        label = f"rejected suggestions are {kind}"
        left.plot([r["decisions"] for r in here], [r["recovered"] for r in here], "o-", label=label)
        right.plot([r["round"] for r in here], [r["froc"] for r in here], "o-", label=label)
    left.set_xlabel("decisions")
    left.set_ylabel("missed lesions recovered")
    left.legend(frameon=False)
    right.set_xlabel("round")
    right.set_ylabel("mean of the FROC on test studies")
    right.xaxis.get_major_locator().set_params(integer=True)
    for axes in (left, right):
        axes.grid(alpha=0.3)
    figure.savefig(out / "rounds.png", dpi=110)
