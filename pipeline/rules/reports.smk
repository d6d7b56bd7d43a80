"""Pages and figures from tables and pictures, then the verdict.

in:  tables, run folders
out: results/<preset>/<task>.html, figures/, verdict.txt
"""


rule gradient_norms:
    """The norms of each gradient term against the step and against t."""
    input:
        f"results/{PRESET}/tables/traces.parquet",
    output:
        f"results/{PRESET}/figures/gradient_norms.svg",
    log:
        f"results/{PRESET}/logs/gradient_norms.log",
    benchmark:
        f"results/{PRESET}/logs/gradient_norms.benchmark.tsv"
    params:
        folder=subpath(output[0], parent=True),
        columns=COLUMNS,
    shell:
        r"""
        python -m reports.figures gradient_norms \
            --trace {input:q} \
            --columns {params.columns:q} \
            --out {params.folder:q} \
            >{log:q} 2>&1
        """


rule sweep:
    """The swept columns of one sweep side by side, a row a prompt."""
    input:
        runs=f"results/{PRESET}/runs.txt",
        views=sweep_views,
    output:
        f"results/{PRESET}/figures/{{sweep}}/sweep.png",
    log:
        f"results/{PRESET}/logs/sweep_{{sweep}}.log",
    benchmark:
        f"results/{PRESET}/logs/sweep_{{sweep}}.benchmark.tsv"
    params:
        columns=sweep_columns,
        stage=FINAL,
        folder=subpath(output[0], parent=True),
    shell:
        r"""
        python -m reports.figures sweep \
            --runs {input.runs:q} \
            --columns {params.columns:q} \
            --stage {params.stage:q} \
            --out {params.folder:q} \
            >{log:q} 2>&1
        """


rule gallery:
    """The comparison gallery of the preset's task: geometry.html or texture.html."""
    input:
        runs=f"results/{PRESET}/runs.txt",
        views=expand("{folder}/views/views.json", folder=run_folders()),
        tables=f"results/{PRESET}/tables/summary.parquet",
        figure=f"results/{PRESET}/figures/gradient_norms.svg",
    output:
        f"results/{PRESET}/{TASK}.html",
    log:
        f"results/{PRESET}/logs/{TASK}.log",
    benchmark:
        f"results/{PRESET}/logs/{TASK}.benchmark.tsv"
    params:
        preset=PRESET,
        task=TASK,
        tables=subpath(input.tables, parent=True),
        columns=COLUMNS,
        stage=FINAL,
        prompts=SPEC["prompts"][TASK],
    shell:
        r"""
        python -m reports.gallery \
            --task {params.task:q} \
            --runs {input.runs:q} \
            --tables {params.tables:q} \
            --preset-name {params.preset:q} \
            --columns {params.columns:q} \
            --stage {params.stage:q} \
            --prompt-set {params.prompts:q} \
            --out {output:q} \
            >{log:q} 2>&1
        """


rule verdict:
    """Lists failed runs; fails when there are any, after the pages that show them."""
    input:
        runs=f"results/{PRESET}/runs.txt",
        page=f"results/{PRESET}/{TASK}.html",
        records=expand("{folder}/run.json", folder=run_folders()),
    output:
        f"results/{PRESET}/verdict.txt",
    log:
        f"results/{PRESET}/logs/verdict.log",
    benchmark:
        f"results/{PRESET}/logs/verdict.benchmark.tsv"
    shell:
        r"""
        python -m pipeline.verdict \
            --runs @{input.runs:q} \
            --out {output:q} \
            2>&1 | tee {log:q}
        """
