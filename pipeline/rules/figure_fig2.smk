"""Fig. 2 of the paper: the parts of SDS's gradient, and what guidance weights make.

in:  run folders, tables/<task>/scores.parquet
out: results/<preset>/figures/fig2/: tables, pictures and captions

    snakemake fig2a fig2b --cores all --config preset=fig2
"""

from metrics import fig2  # noqa: E402


def fig2_folders(wildcards):
    """The runs of Figure 2; stops the workflow when the preset lacks some."""
    found = {}
    first = recipes.prompts(SPEC, TASKS[0])[0].prompt_id
    for column, described in recipes.columns(SPEC).items():
        role = fig2.role(described["method"], described["settings"])
        if role is not None:
            last = recipes.chain(SPEC, TASKS[0], described)[-1]
            place = {"stage": last, "prompt_id": first, "seed": 0}
            prior = presets.job(PRESET, column=column, **place).prior["name"]
            found[column] = (prior, role)
    try:
        fig2.check(found.values(), f"preset {PRESET}")
    except fig2.Fig2Error as error:
        raise WorkflowError(str(error))
    return [
        folder for column in found for folder in run_folders(TASKS[0], column=column)
    ]


def fig2_traces(wildcards):
    return [f"{folder}/trace.parquet" for folder in fig2_folders(wildcards)]


def fig2_views(wildcards):
    return [f"{folder}/views/views.json" for folder in fig2_folders(wildcards)]


rule fig2_tables:
    """The parts of SDS's gradient and the objects' scores, by prior and guidance weight."""
    input:
        traces=fig2_traces,
        views=fig2_views,
        runs=f"results/{PRESET}/lists/{TASKS[0]}.txt",
        scores=f"results/{PRESET}/tables/{TASKS[0]}/scores.parquet",
    output:
        expand(
            "results/{preset}/figures/fig2/{name}.csv",
            preset=PRESET,
            name=["fig2a_steps", "fig2a_probes", "fig2a_summary", "fig2b"],
        ),
    log:
        f"results/{PRESET}/logs/fig2_tables.log",
    benchmark:
        f"results/{PRESET}/logs/fig2_tables.benchmark.tsv"
    params:
        folder=subpath(output[0], parent=True),
    shell:
        r"""
        python -m metrics.fig2 \
            --scores {input.scores:q} \
            --out {params.folder:q} \
            --runs @{input.runs:q} \
            >{log:q} 2>&1
        """


rule fig2a:
    """Fig. 2a: norms of the two parts against step and t, their ratio, and what rules."""
    input:
        tables=rules.fig2_tables.output,
        runs=f"results/{PRESET}/lists/{TASKS[0]}.txt",
    output:
        expand(
            "results/{preset}/figures/fig2/fig2a.{kind}",
            preset=PRESET,
            kind=["png", "svg", "txt"],
        ),
    log:
        f"results/{PRESET}/logs/fig2a.log",
    benchmark:
        f"results/{PRESET}/logs/fig2a.benchmark.tsv"
    params:
        stage=SPEC["tasks"][TASKS[0]]["chain"][-1],
        folder=subpath(output[0], parent=True),
    shell:
        r"""
        python -m reports.fig2 a \
            --tables {params.folder:q} \
            --runs {input.runs:q} \
            --stage {params.stage:q} \
            >{log:q} 2>&1
        """


rule fig2b:
    """Fig. 2b: what each guidance weight makes of a prompt, a row a prior."""
    input:
        tables=rules.fig2_tables.output,
        runs=f"results/{PRESET}/lists/{TASKS[0]}.txt",
    output:
        expand(
            "results/{preset}/figures/fig2/{name}",
            preset=PRESET,
            name=[
                "fig2b.txt",
                *(
                    f"fig2b_{p.prompt_id}.{kind}"
                    for p in recipes.prompts(SPEC, TASKS[0])
                    for kind in ("png", "svg")
                ),
            ],
        ),
    log:
        f"results/{PRESET}/logs/fig2b.log",
    benchmark:
        f"results/{PRESET}/logs/fig2b.benchmark.tsv"
    params:
        stage=SPEC["tasks"][TASKS[0]]["chain"][-1],
        folder=subpath(output[0], parent=True),
    shell:
        r"""
        python -m reports.fig2 b \
            --tables {params.folder:q} \
            --runs {input.runs:q} \
            --stage {params.stage:q} \
            >{log:q} 2>&1
        """
