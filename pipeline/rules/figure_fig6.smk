"""Fig. 6 of the paper: finished objects edited by words (eq. 11), and the same without what eq. 11 adds.

in:  finished runs that the plan (presets/figures/fig6.yaml) begins at, truth renders
out: results/<preset>/figures/fig6/: runs/<edit>/<row>/seed<k>/, fig6.{png,svg,csv,txt}

    snakemake fig6 --cores all --config preset=mini
"""

from types import SimpleNamespace  # noqa: E402

from methods.distill import METHODS  # noqa: E402
from pipeline import edit as editing  # noqa: E402

FIG6_PLAN = str(ROOT / "presets/figures/fig6.yaml")
FIG6 = editing.read_plan(Path(FIG6_PLAN))
FIG6_RUN = f"results/{PRESET}/figures/fig6/runs/{{edit}}/{{row}}/seed{{seed}}"


wildcard_constraints:
    edit="[a-z0-9_]+",
    row="[a-z0-9_]+",


def fig6_begin(edit, seed):
    """The finished run that an edit begins at; stops the workflow where the preset has none."""
    text, begun = FIG6["edits"][edit]["source"], FIG6["from"]
    asked = {p.text: p.prompt_id for p in recipes.prompts(SPEC, "geometry")}
    stages = recipes.stages(SPEC, "geometry") if "geometry" in TASKS else []
    if (
        text not in asked
        or begun["column"] not in COLUMNS
        or begun["stage"] not in stages
    ):
        raise WorkflowError(
            f"fig6 begins at {begun['column']}'s {begun['stage']} of {text!r}, which the preset "
            f"{PRESET} has not: use preset=mini"
        )
    return RUN.format(task="geometry", prompt_id=asked[text], seed=seed, **begun)


def fig6_begins(wildcards=None):
    """Every run that some edit begins at."""
    found = [fig6_begin(e, seed) for e in FIG6["edits"] for seed in SPEC["seeds"]]
    return list(dict.fromkeys(found))


def fig6_begin_views(wildcards):
    return [f"{folder}/views/views.json" for folder in fig6_begins()]


def fig6_scene(wildcards):
    return f"{fig6_begin(wildcards.edit, wildcards.seed)}/scene.safetensors"


def fig6_folders(wildcards=None):
    """Every edited run."""
    return [
        FIG6_RUN.format(edit=edit, row=row, seed=seed)
        for edit in FIG6["edits"]
        for row in FIG6["columns"]
        for seed in SPEC["seeds"]
    ]


def fig6_runs(wildcards):
    return [f"{folder}/views/views.json" for folder in fig6_folders()]


def fig6_views():
    """How an edited object is looked at, as JSON: as before, with few turntable frames."""
    views = SPEC["stages"].get(FIG6["from"]["stage"], {}).get("views", {})
    return json.dumps({**views, "turntable_frames": 4})


def fig6_begun(wildcards):
    """The run that an edit begins at, as the wildcards of its own job; its prior is the edit's."""
    folder = Path(fig6_begin(wildcards.edit, wildcards.seed))
    return SimpleNamespace(
        prompt_id=folder.parents[1].name, seed=wildcards.seed, **FIG6["from"]
    )


def fig6_prior(wildcards):
    return prior_files(fig6_begun(wildcards))


def fig6_prior_options(wildcards):
    """Texts that no run has put to a learned prior are embedded by the first edit that asks."""
    return prior_options(fig6_begun(wildcards))


def fig6_described(wildcards):
    """The checksum of what decides an edit besides the scene: its place in the plan, its method."""
    row = FIG6["columns"][wildcards.row]
    parts = {
        "edit": FIG6["edits"][wildcards.edit],
        "row": row,
        "version": METHODS[row["method"]].version,
        "changes": FIG6["changes"],
    }
    return presets.digest(parts)


rule edit:
    """One finished scene goes on towards another prompt; then its pictures."""
    input:
        scene=fig6_scene,
        prior=fig6_prior,
    output:
        record=f"{FIG6_RUN}/run.json",
        scene=f"{FIG6_RUN}/scene.safetensors",
        listing=f"{FIG6_RUN}/views/views.json",
    log:
        f"{FIG6_RUN}/edit.log",
    benchmark:
        f"{FIG6_RUN}/edit.benchmark.tsv"
    params:
        plan=FIG6_PLAN,
        described=fig6_described,
        begin=subpath(input.scene, parent=True),
        folder=subpath(output.record, parent=True),
        prior=fig6_prior_options,
        views=fig6_views(),
    shell:
        r"""
        python -m pipeline.edit \
            --plan {params.plan:q} \
            --edit {wildcards.edit:q} \
            --column {wildcards.row:q} \
            --run {params.begin:q} \
            --threads {threads} \
            --out {params.folder:q} \
            {params.prior:q} \
            >{log:q} 2>&1
        python -m pipeline.render_views \
            --run {params.folder:q} \
            --settings {params.views:q} \
            --threads {threads} \
            >>{log:q} 2>&1
        """


rule fig6:
    """A grid of edits and columns; IoU with the scene before, colour against the true target."""
    input:
        views=fig6_runs,
        begins=fig6_begin_views,
        truth=truth_files,
    output:
        expand(
            "results/{preset}/figures/fig6/fig6.{kind}",
            preset=PRESET,
            kind=["csv", "png", "svg", "txt"],
        ),
    log:
        f"results/{PRESET}/logs/fig6.log",
    benchmark:
        f"results/{PRESET}/logs/fig6.benchmark.tsv"
    params:
        begins=fig6_begins,
        edited=fig6_folders,
        runs=f"results/{PRESET}/figures/fig6/runs",
        truth=f"results/{PRESET}/truth",
        folder=subpath(output[0], parent=True),
    shell:
        r"""
        python -m metrics.fig6 \
            --runs {params.edited:q} \
            --sources {params.begins:q} \
            --truth {params.truth:q} \
            --out {params.folder:q} \
            >{log:q} 2>&1
        python -m reports.paper.fig6 \
            --tables {params.folder:q} \
            --runs {params.runs:q} \
            --sources {params.begins:q} \
            --out {params.folder:q} \
            >>{log:q} 2>&1
        """
