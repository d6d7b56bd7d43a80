"""Figure 2 of the paper in the toy world, drawn from the tables of `metrics.fig2`.

    python -m reports.fig2 a --tables results/fig2/figures/fig2 --runs results/fig2/runs.txt
    python -m reports.fig2 b --tables results/fig2/figures/fig2 --runs results/fig2/runs.txt

Beside the tables it writes fig2a.{png,svg}, or fig2b_<prompt_id>.{png,svg} for each prompt, and a
caption, `fig2a.txt` or `fig2b.txt`, that says what was run, under which priors and how many runs.
"""

import argparse
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.artifacts import write_bytes, write_text
from reports import fig2_gradients, fig2_sheet
from reports.gradient_norms import STYLE, svg
from reports.records import ReportError, Run, choose_stage, find_runs, reported, rows_of

if TYPE_CHECKING:
    import pandas
    from matplotlib.figure import Figure

SHOWN = "7.5"  # the weight whose norms fig. 2a shows unless asked otherwise


def read_csv(folder: Path, name: str) -> "pandas.DataFrame":
    """A table of metrics.fig2; `omega` is text. Raises ReportError."""
    import pandas

    path = folder / f"{name}.csv"
    if not path.is_file():
        raise ReportError(f"{path}: no such table; run python -m metrics.fig2 first")
    return pandas.read_csv(path, dtype={"omega": str})


def shown_runs(table: "pandas.DataFrame", runs: Sequence[Run]) -> dict[tuple[str, str, str], Run]:
    """(prior, omega, prompt_id) -> the run of the table's first seed. Raises ReportError when the
    table names a run that is not there.
    """
    by_key = {run.key: run for run in runs}
    found: dict[tuple[str, str, str], Run] = {}
    for row in rows_of(table):
        key = (str(row.column), str(row.prompt_id), int(row.seed))
        if key not in by_key:
            raise ReportError(f"fig2b.csv names the run {key}, which is not among the runs")
        found.setdefault((str(row.prior), str(row.omega), str(row.prompt_id)), by_key[key])
    return found


def prior_in_words(prior: Mapping[str, Any]) -> str:
    """What a run's prior is: its null for the exact one, its network else."""
    if "null_prompt" in prior:
        null = {"marginal": "marginal", "heldout": "held-out"}[prior["null_prompt"]]
        return f"exact mixture, {null} null"
    source = Path(prior["path"]).name if "path" in prior else str(prior["hub"])
    return f"trained network {source}"


def caption(runs: Sequence[Run]) -> str:
    """What was run and how often: preset, priors, diversity, prompts, seeds, failures."""
    first = runs[0].record
    priors = {run.record["prior"]["name"]: prior_in_words(run.record["prior"]) for run in runs}
    prompts = list(dict.fromkeys(str(run.record["prompt"]) for run in runs))
    seeds = sorted({int(run.record["seed"]) for run in runs})
    world = first["settings"].get("world") or {}
    named = "; ".join(f"{name} ({words})" for name, words in priors.items())
    lines = [
        f"Preset {first['preset']}, {first['settings']['steps']} steps a run.",
        f"Priors: {named}.",
        f"Diversity of the mixture's world: {world.get('diversity', 'no world')}."
        + (
            " A trained network has the diversity of what it was trained on: see its model card."
            if any("null_prompt" not in run.record["prior"] for run in runs)
            else ""
        ),
        f"n = {len(prompts)} prompts ({', '.join(prompts)}) x {len(seeds)} "
        f"seed{'s' * (len(seeds) != 1)}: {len(runs)} runs, {sum(r.failed for r in runs)} failed.",
        "So few runs order nothing: the numbers describe these objects.",
    ]
    return "\n".join(lines)


def write_a(args: argparse.Namespace) -> None:
    """fig2a.png, fig2a.svg and fig2a.txt."""
    import matplotlib

    steps, probes = (read_csv(args.tables, f"fig2a_{name}") for name in ("steps", "probes"))
    runs = list(shown_runs(read_csv(args.tables, "fig2b"), _runs(args)).values())
    if args.omega not in set(steps["omega"]):
        known = ", ".join(dict.fromkeys(steps["omega"]))
        raise ReportError(f"--omega {args.omega}: the tables have {known}")
    with matplotlib.rc_context(STYLE):
        figure = fig2_gradients.drawn(steps, probes, omega=args.omega)
        write_drawn(figure, args.out / "fig2a")
    noises = runs[0].record["settings"]["trace"]["probe_noises"]
    what = fig2_gradients.caption(args.omega, noises)
    write_text(args.out / "fig2a.txt", f"{what}\n{caption(runs)}\n")


def write_b(args: argparse.Namespace) -> None:
    """fig2b_<prompt_id>.png and .svg for each prompt, and fig2b.txt."""
    import matplotlib

    table = read_csv(args.tables, "fig2b")
    shown = shown_runs(table, _runs(args))
    with matplotlib.rc_context({**STYLE, "axes.grid": False}):
        for prompt_id, rows in table.groupby("prompt_id", sort=False):
            write_drawn(fig2_sheet.drawn(rows, shown), args.out / f"fig2b_{prompt_id}")
    write_text(args.out / "fig2b.txt", f"{fig2_sheet.CAPTION}\n{caption(list(shown.values()))}\n")


def write_drawn(figure: "Figure", path: Path) -> None:
    """`path` with .png and .svg holds the figure."""
    picture = io.BytesIO()
    text = svg(figure)
    options: Any = {"metadata": {"Software": ""}, "facecolor": "white"}
    figure.savefig(picture, format="png", dpi=110, **options)
    write_bytes(path.with_name(f"{path.name}.png"), picture.getvalue())
    write_text(path.with_name(f"{path.name}.svg"), text)


def _runs(args: argparse.Namespace) -> list[Run]:
    return choose_stage(find_runs(args.runs, task="geometry"), args.stage)


def main(arguments: Sequence[str] | None = None) -> None:
    """Write one half of the figure."""
    parser = argparse.ArgumentParser(prog="reports.fig2", description=__doc__)
    programs = parser.add_subparsers(required=True)
    for name, write in (("a", write_a), ("b", write_b)):
        program = programs.add_parser(name)
        program.add_argument("--tables", type=Path, required=True, help="of metrics.fig2")
        program.add_argument("--runs", type=Path, required=True, help="list or folder of runs")
        program.add_argument("--stage", help="of the runs; needed where there are several")
        program.add_argument("--out", type=Path, help="folder; that of the tables unless given")
        program.set_defaults(write=write)
        if name == "a":
            program.add_argument("--omega", default=SHOWN, help="whose norms are shown")
    args = parser.parse_args(arguments)
    args.out = args.out or args.tables
    args.write(args)


if __name__ == "__main__":
    reported(main)
