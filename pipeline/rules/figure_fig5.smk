"""Fig. 5 of the paper: CSD without, with a constant, with an annealed negative prompt.

in:  the preset's runs and tables
out: results/<preset>/figures/fig5/fig5.{png,svg,csv,txt}, fig5_pairs.csv

    snakemake fig5 --cores all --config preset=fig5
"""


rule fig5:
    """A grid of prompts and schedules, and every metric with its interval."""
    input:
        runs=f"results/{PRESET}/lists/{TASKS[0]}.txt",
        views=[f"{folder}/views/views.json" for folder in run_folders(TASKS[0])],
        scores=f"results/{PRESET}/tables/{TASKS[0]}/scores.parquet",
    output:
        expand(
            "results/{preset}/figures/fig5/fig5.{kind}",
            preset=PRESET,
            kind=["png", "svg", "csv", "txt"],
        ),
        f"results/{PRESET}/figures/fig5/fig5_pairs.csv",
    log:
        f"results/{PRESET}/logs/fig5.log",
    benchmark:
        f"results/{PRESET}/logs/fig5.benchmark.tsv"
    params:
        tables=subpath(input.scores, parent=True),
        folder=subpath(output[0], parent=True),
    shell:
        r"""
        python -m reports.paper.fig5 \
            --runs {input.runs:q} \
            --tables {params.tables:q} \
            --out {params.folder:q} \
            >{log:q} 2>&1
        """
