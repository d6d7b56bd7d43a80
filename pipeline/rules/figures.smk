"""Figures of the paper in the toy world; none of them is part of `all`.

in:  run folders, tables/scores.parquet
out: results/<preset>/figures/fig2/: tables, pictures and captions

    snakemake fig2a fig2b --cores all --config preset=fig2
"""


rule fig2_tables:
    """The parts of SDS's gradient and the objects' scores, by prior and guidance weight."""
    input:
        traces=lambda wildcards: [f"{f}/trace.parquet" for f in fig2_folders(wildcards)],
        views=lambda wildcards: [
            f"{f}/views/views.json" for f in fig2_folders(wildcards)
        ],
        runs=f"results/{PRESET}/runs.txt",
        scores=f"results/{PRESET}/tables/scores.parquet",
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
        runs=f"results/{PRESET}/runs.txt",
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
        stage=FINAL,
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
        runs=f"results/{PRESET}/runs.txt",
    output:
        expand(
            "results/{preset}/figures/fig2/{name}",
            preset=PRESET,
            name=["fig2b.txt", *(f"fig2b_{p.prompt_id}.png" for p in PROMPTS)],
        ),
    log:
        f"results/{PRESET}/logs/fig2b.log",
    benchmark:
        f"results/{PRESET}/logs/fig2b.benchmark.tsv"
    params:
        stage=FINAL,
        folder=subpath(output[0], parent=True),
    shell:
        r"""
        python -m reports.fig2 b \
            --tables {params.folder:q} \
            --runs {input.runs:q} \
            --stage {params.stage:q} \
            >{log:q} 2>&1
        """
