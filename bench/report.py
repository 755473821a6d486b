"""What was measured, as a table for people and as lines for programs."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import orjson
from rich.console import Console
from rich.table import Table

WIDTH = 150
PACKAGES = ("tornado", "motor", "pymongo", "celery", "redis", "secantusdb")


def machine(redis_version: str) -> dict[str, Any]:
    """Where it was measured, and with what; `load` is the machine's load average before the first
    row."""
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    return {
        "cores": os.cpu_count(),
        "memory_gib": round(memory, 1),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "redis_server": redis_version,
        "packages": {name: version(name) for name in PACKAGES},
        "load": round(os.getloadavg()[0], 2),
    }


def append(path: Path, line: dict[str, Any], where: dict[str, Any]) -> None:
    """Adds one line to the file of all runs."""
    path.parent.mkdir(parents=True, exist_ok=True)
    at = datetime.now(UTC).isoformat(timespec="seconds")
    with path.open("ab") as file:
        file.write(orjson.dumps({"at": at, **line, "machine": where}) + b"\n")


def show(lines: Sequence[dict[str, Any]], where: dict[str, Any]) -> None:
    """Prints the table, with a mark where a ratio is below what it must be."""
    title = f"{where['cores']} cores, {where['memory_gib']} GiB, Python {where['python']}, load {where['load']} at the start"
    table = Table(title=title, title_justify="left")
    table.add_column("bench")
    for name in (
        "unit",
        "product",
        "naive",
        "ceiling",
        "of naive",
        "at least",
        "of ceiling",
        "at least",
        "ms of a request: server, store",
        "times the ceiling's",
        "at most",
    ):
        table.add_column(name, justify="right")
    for line in lines:
        table.add_row(*_CELLS.get(line["bench"], _cells)(line))
    console = Console(highlight=False, width=WIDTH)
    console.print(table)
    for line in lines:
        if line["bench"] == "age":
            console.print(_age_table(line))


def _cells(line: dict[str, Any]) -> list[str]:
    cells = [
        line["bench"],
        line["unit"],
        *(f"{line[name]:,.0f}" for name in ("product", "naive", "ceiling")),
    ]
    for other in ("naive", "ceiling"):
        reached, wanted = line[f"of_{other}"], line[f"at_least_of_{other}"]
        cells += [_marked(f"{reached:.2f}", reached >= wanted), f"{wanted:g}"]
    return cells + (_spent_cells(line) if "ms_a_request" in line else [])


def _spent_cells(line: dict[str, Any]) -> list[str]:
    """Processor time of a request, and how many times that of the ceiling's server."""
    spent, times = line["ms_a_request"], line["times_the_ceiling"]
    most = line.get("at_most_times_the_ceiling")
    told = f"{spent['server']:.2f}, {spent['mongodb']:.2f}"
    if most is None:
        return [told, f"{times:.2f}", ""]
    return [told, _marked(f"{times:.2f}", times <= most), f"{most:g}"]


def _welcome_cells(line: dict[str, Any]) -> list[str]:
    p95, most = line["p95_ms"], line["at_most_ms"]
    told = f"p50 {line['p50_ms']:.0f}, p95 {p95:.0f}, max {line['max_ms']:.0f}"
    return [line["bench"], "ms", _marked(told, p95 < most), "", "", "", "", "", f"p95 < {most:g}"]


def _storm_cells(line: dict[str, Any]) -> list[str]:
    share, least = line["product"], line["at_least"]
    told = f"{line['drawn']} drawn, welcome p95 {line['welcome_p95_ms']:.0f} ms"
    return [
        "storm",
        line["unit"],
        _marked(f"{share:.3f}, {told}", share >= least),
        "",
        "",
        "",
        "",
        "",
        f"{least:g}",
    ]


def _sync_cells(line: dict[str, Any]) -> list[str]:
    seconds, most = line["seconds"], line["at_most_seconds"]
    told = f"{line['customers']:,} in {seconds:.0f} s, {line['kills']} kills, worker {line['worker_peak_mb']:.0f} MB"
    marked = _marked(f"{line['product']:,.0f}: {told}", seconds <= most)
    return ["sync", line["unit"], marked, "", "", "", "", "", f"{most:g} s"]


def _flood_cells(line: dict[str, Any]) -> list[str]:
    told = f"{line['genuine']:,} counted once at {line['handled_per_s']:.0f}/s, {line['forged']:,} forged refused"
    product = f"[green]{line['product']:,.0f}: {told}, {line['kills']} kills[/]"
    return ["flood", line["unit"], product, "", "", "", "", "", "none wrong"]


def _import_cells(line: dict[str, Any]) -> list[str]:
    grown, most = line["grown_mb"], line["at_most_mb"]
    flat = _marked(f"{grown:.0f} MB more for ten times the lines", grown <= most)
    reached = _marked(f"{line['of_raw']:.2f} of raw", line["of_raw"] >= line["at_least"])
    product = f"{line['product']:,.0f}: {reached}, {flat}"
    return ["import", line["unit"], product, "", "", "", "", "", f"{line['at_least']:g}"]


def _points_cells(line: dict[str, Any]) -> list[str]:
    cells, cold = _cells(line), line["cold"]
    for place, name in ((2, "product"), (3, "naive"), (4, "ceiling")):
        cells[place] += f", cold {cold[name]:,.0f}"
    for place, other in ((5, "naive"), (7, "ceiling")):
        reached = cold[f"of_{other}"]
        cells[place] += ", " + _marked(f"{reached:.2f}", reached >= line[f"at_least_of_{other}"])
    return cells


def _splitting_cells(line: dict[str, Any]) -> list[str]:
    reached, wanted = line["of_naive"], line["at_least_of_naive"]
    product = f"{line['product']:,.0f}, waiting {line['waiting']['product']:,.0f}"
    rates = [f"{line[other]:,.0f}" for other in ("naive", "ceiling")]
    marked = _marked(f"{reached:.2f}", reached >= wanted)
    return ["splitting", line["unit"], product, *rates, marked, f"{wanted:g}",
            f"{line['of_ceiling']:.2f}", ""]  # fmt: skip


def _rules_cells(line: dict[str, Any]) -> list[str]:
    product, mixed = line["product"], line["mixed"]
    told = f"{product:,.0f}, mixed {mixed['product']:,.0f}, windowed {line['windowed']:,.0f}"
    naive = f"{line['naive']:,.0f}, mixed {mixed['naive']:,.0f}"
    reached, wanted = line["of_naive"], line["at_least_of_naive"]
    marked = _marked(f"{reached:.2f}", reached >= wanted)
    least = f"{line['at_least']:,} a core"
    return ["rules", line["unit"], _marked(told, product >= line["at_least"]), naive, "", marked,
            f"{wanted:g}", "", least]  # fmt: skip


def _estimate_cells(line: dict[str, Any]) -> list[str]:
    told = f"p50 {line['p50_ms']:.0f}, p95 {line['p95_ms']:.0f} of {line['customers']:,}"
    asked = _marked(told, line["p95_ms"] < line["at_most_ms"])
    made = f"made in {line['rebuild_seconds']:.0f} s, {line['rebuild_mb']:.0f} MB"
    is_made = (
        line["rebuild_seconds"] < line["at_most_seconds"]
        and line["rebuild_mb"] < line["at_most_mb"]
    )
    product = f"{asked}; {_marked(made, is_made)}"
    naive = f"{line['naive_ms']:,.0f}"
    return ["estimate", "ms", product, naive, "", "", "", "", f"p95 < {line['at_most_ms']:g}"]


def _age_cells(line: dict[str, Any]) -> list[str]:
    if line["stopped"]:
        told = f"[red]stopped after {len(line['days'])} days[/]"
    else:
        told = f"{line['product']:.2f} of day 1"
    if line["missed"]:
        told += f", [red]missed: {', '.join(line['missed'])}[/]"
    return ["age", line["unit"], told, "", "", "", "", "", f"at most {line['at_most']:g}"]


def _age_table(line: dict[str, Any]) -> Table:
    table = Table(title="by process, of the first day and of the last", title_justify="left")
    for name in ("", "ms a step", "at last", "times", "MB after a third", "at last", "times"):
        table.add_column(name, justify="right" if name else "left")
    for name, one in line["processes"].items():
        cost = one["first_ms"], one["last_ms"], line["at_most"]
        memory = one["third_mb"], one["last_mb"], line["at_most_memory"]
        lost = [f"{name}_{unit}" in line["missed"] for unit in ("ms", "mb")]
        table.add_row(name, *_grown_cells(*cost, lost[0]), *_grown_cells(*memory, lost[1]))
    return table


def _grown_cells(before: float, after: float, most: float, is_missed: bool) -> list[str]:
    """Two figures and how many times the first the second is; without a mark where that is not
    judged."""
    times = f"{after / before:.2f}" if before else ""
    if is_missed or after <= most * before:
        times = _marked(times, not is_missed)
    return [f"{before:,.1f}", f"{after:,.1f}", times]


_CELLS: dict[str, Callable[[dict[str, Any]], list[str]]] = {
    "welcome": _welcome_cells,
    "membership": _welcome_cells,
    "storm": _storm_cells,
    "sync": _sync_cells,
    "flood": _flood_cells,
    "points": _points_cells,
    "import": _import_cells,
    "splitting": _splitting_cells,
    "rules": _rules_cells,
    "estimate": _estimate_cells,
    "age": _age_cells,
}


def _marked(text: str, reached: bool) -> str:
    return f"[green]{text}[/]" if reached else f"[red]{text} missed[/]"
