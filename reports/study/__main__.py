"""Build, analyse or plan a user study.

    python -m reports.study build --runs results/mini/runs --columns sds csd csd_neg vsd \\
        --out results/mini/study
    python -m reports.study analyse answers/*.json --study study.json --key key.json --out DIR
    python -m reports.study plan --effect 0.6 --power 0.8 --columns 4 --prompts 6
"""

import argparse
import secrets
from collections.abc import Sequence
from pathlib import Path

from reports.contact_sheet import select
from reports.records import ReportError, reported
from reports.study import analyse, build, design, plan, texts
from reports.study.preferences import RESAMPLES


def add_build(parser: argparse.ArgumentParser) -> None:
    """Give `parser` the options of `build`."""
    parser.add_argument("--runs", type=Path, required=True, help="results/<preset>/runs")
    parser.add_argument("--task", default="geometry")
    parser.add_argument("--stage", help="needed where runs have several stages")
    parser.add_argument("--run-seed", type=int, default=0, help="which seed's runs are shown")
    parser.add_argument("--columns", nargs="+", required=True)
    parser.add_argument("--prompt-ids", nargs="+", help="these prompts only")
    parser.add_argument("--reading", choices=list(texts.QUESTIONS), default=texts.PAIRS)
    parser.add_argument("--forms", type=int, default=30, help="one a participant")
    parser.add_argument("--trials", type=int, help="of a form; 36, or fewer if that is all")
    parser.add_argument("--checks", type=int, help="attention checks a form; a tenth, at least 2")
    parser.add_argument("--repeats", type=int, help="repeated trials a form; a tenth, at least 2")
    parser.add_argument("--size", type=int, default=256, help="pixels a side of one view")
    parser.add_argument("--background", type=float, default=0.75, help="grey in [0, 1]")
    parser.add_argument("--minimum-ms", type=int, default=800, help="to look before answering")
    parser.add_argument("--title", default="Compare 3D objects")
    for name, value in texts.EXCLUSIONS.items():
        option = f"--{name.replace('_', '-')}"
        parser.add_argument(option, type=float, default=value, help="exclusion rule")
    parser.add_argument("--seed", type=int, help="of ids and orders; drawn and kept in the key")
    parser.add_argument("--single-file", action="store_true", help="pictures inside the page")
    parser.add_argument("--out", type=Path, required=True)
    parser.set_defaults(run=run_build)


def run_build(args: argparse.Namespace) -> None:
    """Freeze a study and say how balanced it is."""
    runs = select(
        [args.runs],
        task=args.task,
        columns=args.columns,
        prompt_ids=args.prompt_ids,
        stage=args.stage,
    )
    shown = [run for run in runs if run.key[2] == args.run_seed]
    if not shown:
        raise ReportError(f"{args.runs}: no run of seed {args.run_seed}; name another --run-seed")
    if args.size % 8 or args.size < 16:
        raise ReportError(f"--size {args.size}: a multiple of 8, at least 16")
    rows = build.grid(shown, args.columns)
    options = 2 if args.reading == texts.PAIRS else len(args.columns)
    cells = len(rows) * len(design.column_sets(len(args.columns), options))
    trials = min(36, cells) if args.trials is None else args.trials
    tenth = max(2, round(trials / 10))
    size = design.Plan(
        columns=len(args.columns),
        prompts=len(rows),
        options=options,
        forms=args.forms,
        trials=trials,
        checks=tenth if args.checks is None else args.checks,
        repeats=min(tenth, max(1, trials // 3)) if args.repeats is None else args.repeats,
    )
    study = build.freeze(
        rows,
        reading=args.reading,
        plan=size,
        look=build.Look(args.size, args.background),
        seed=secrets.randbits(62) if args.seed is None else args.seed,
        title=args.title,
        minimum_ms=args.minimum_ms,
        exclusions={name: getattr(args, name) for name in texts.EXCLUSIONS},
    )
    build.write(study, args.out, inline=args.single_file)
    failed = sum(run.failed for row in rows for run in row)
    often, rest = divmod(size.forms * size.trials, cells)
    print(
        f"{args.out}: {study.public['study_id']}, {size.forms} forms "
        f"of {len(study.public['forms'][0])} trials"
    )
    print(f"each comparison is shown {often}{f' or {often + 1}' if rest else ''} times")
    if failed:
        print(f"{failed} failed runs are shown as they are: placeholders")


def add_analyse(parser: argparse.ArgumentParser) -> None:
    """Give `parser` the options of `analyse`."""
    parser.add_argument("answers", type=Path, nargs="*", help="what participants sent")
    parser.add_argument("--study", type=Path, required=True)
    parser.add_argument("--key", type=Path, required=True)
    parser.add_argument("--resamples", type=int, default=RESAMPLES, help="of the bootstrap")
    parser.add_argument("--out", type=Path, required=True)
    parser.set_defaults(run=run_analyse)


def run_analyse(args: argparse.Namespace) -> None:
    """Write tables, figure and page."""
    analyse.analyse(
        args.answers,
        study_path=args.study,
        key_path=args.key,
        out=args.out,
        draws=args.resamples,
    )


def add_plan(parser: argparse.ArgumentParser) -> None:
    """Give `parser` the options of `plan`."""
    parser.add_argument("--effect", type=float, default=0.6, help="share of decided answers")
    parser.add_argument("--power", type=float, default=0.8)
    parser.add_argument("--alpha", type=float, default=0.05, help="of all pairs together")
    parser.add_argument("--columns", type=int, default=4)
    parser.add_argument("--reading", choices=list(texts.QUESTIONS), default=texts.PAIRS)
    parser.add_argument("--trials", type=int, nargs="+", default=[12, 24, 36, 60], help="a person")
    parser.add_argument("--icc", type=float, default=0.05, help="of two answers of one person")
    parser.add_argument("--same-share", type=float, default=0.1, help="answers of no difference")
    parser.add_argument("--participants", type=int, help="print the detectable share instead")
    parser.set_defaults(run=run_plan)


def run_plan(args: argparse.Namespace) -> None:
    """Print one line per number of trials."""
    comparisons = args.columns * (args.columns - 1) // 2
    options = 2 if args.reading == texts.PAIRS else args.columns
    settings = {"power": args.power, "alpha": args.alpha, "icc": args.icc}
    print(
        f"power {args.power:g} in each of {comparisons} comparisons, alpha {args.alpha:g} for all "
        f"of them, icc {args.icc:g}, {100 * args.same_share:g} % of answers without a difference"
    )
    for trials in args.trials:
        answers = plan.answers_a_person(
            trials=trials, columns=args.columns, options=options, same_share=args.same_share
        )
        each = f"{trials} trials ({answers:.1f} decided answers a comparison)"
        try:
            if args.participants:
                share = plan.detectable(
                    args.participants, answers=answers, comparisons=comparisons, **settings
                )
                found = f"{100 * share:.1f} % or more" if share < 1 else "nothing"
                print(f"{args.participants} people x {each}: finds {found}")
            else:
                need = plan.people(
                    args.effect, answers=answers, comparisons=comparisons, **settings
                )
                print(
                    f"{need.people} people x {each}: finds {100 * args.effect:g} %, "
                    f"design effect {need.design_effect:.2f}"
                )
        except ValueError as error:
            raise ReportError(str(error)) from error


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one of the programs."""
    parser = argparse.ArgumentParser(prog="reports.study", description=__doc__)
    programs = parser.add_subparsers(required=True)
    add_build(programs.add_parser("build", help="freeze a study"))
    add_analyse(programs.add_parser("analyse", help="tables, figure and page of the answers"))
    add_plan(programs.add_parser("plan", help="how many people it takes"))
    args = parser.parse_args(arguments)
    args.run(args)


if __name__ == "__main__":
    reported(main)
