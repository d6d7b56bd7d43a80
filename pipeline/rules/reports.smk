"""Pages and figures from tables and pictures, then the verdict.

in:  tables, run folders
out: results/<preset>/<task>.html, figures/, verdict.txt
"""


def page_files(task, pattern):
    return [pattern.format(shown=one) for one in shown_of(task)]


def page_lists(wildcards):
    return page_files(wildcards.task, f"results/{PRESET}/lists/{{shown}}.txt")


def page_tables(wildcards):
    pattern = f"results/{PRESET}/tables/{{shown}}/summary.parquet"
    return page_files(wildcards.task, pattern)


def page_meshes(wildcards):
    """What became of each mesh that was to be painted."""
    asked = recipes.prompts(SPEC, wildcards.task) if wildcards.task == "texture" else []
    return [f"results/{PRESET}/meshes/{p.prompt_id}/mesh.json" for p in asked]


def page_options(wildcards):
    """Lists and tables of where the columns end, then of each earlier stage."""
    names = zip(page_lists(wildcards), page_tables(wildcards), strict=True)
    last, *earlier = [(runs, str(Path(table).parent)) for runs, table in names]
    options = ["--runs", last[0], "--tables", last[1]]
    if wildcards.task == "texture":
        options += ["--meshes", f"results/{PRESET}/meshes"]
    return options + [o for pair in earlier for o in ("--earlier", *pair)]


def page_prompts(wildcards):
    return SPEC["tasks"][wildcards.task]["prompts"]


rule gradient_norms:
    """The norms of each gradient term against the step and against t."""
    input:
        f"results/{PRESET}/tables/{{shown}}/traces.parquet",
    output:
        report(
            f"results/{PRESET}/figures/gradient_norms.{{shown}}/gradient_norms.svg",
            category="Figures",
            labels={"shown": "{shown}"},
        ),
    log:
        f"results/{PRESET}/logs/gradient_norms.{{shown}}.log",
    benchmark:
        f"results/{PRESET}/logs/gradient_norms.{{shown}}.benchmark.tsv"
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
        runs=f"results/{PRESET}/lists/{TASKS[0]}.txt",
        views=sweep_views,
    output:
        report(
            f"results/{PRESET}/figures/{{sweep}}/sweep.png",
            category="Figures",
            labels={"sweep": "{sweep}"},
        ),
    log:
        f"results/{PRESET}/logs/sweep.{{sweep}}.log",
    benchmark:
        f"results/{PRESET}/logs/sweep.{{sweep}}.benchmark.tsv"
    params:
        columns=sweep_columns,
        folder=subpath(output[0], parent=True),
    shell:
        r"""
        python -m reports.figures sweep \
            --runs {input.runs:q} \
            --columns {params.columns:q} \
            --out {params.folder:q} \
            >{log:q} 2>&1
        """


rule gallery:
    """The comparison gallery of one task: geometry.html or texture.html."""
    input:
        runs=page_lists,
        views=task_views,
        tables=page_tables,
        meshes=page_meshes,
    output:
        report(
            f"results/{PRESET}/{{task}}.html",
            category="Galleries",
            labels={"task": "{task}"},
        ),
    log:
        f"results/{PRESET}/logs/gallery.{{task}}.log",
    benchmark:
        f"results/{PRESET}/logs/gallery.{{task}}.benchmark.tsv"
    params:
        preset=PRESET,
        sources=page_options,
        columns=columns_of,
        prompts=page_prompts,
    shell:
        r"""
        python -m reports.gallery \
            --task {wildcards.task:q} \
            {params.sources:q} \
            --preset-name {params.preset:q} \
            --columns {params.columns:q} \
            --prompt-set {params.prompts:q} \
            --out {output:q} \
            >{log:q} 2>&1
        """


rule verdict:
    """Lists failed runs; fails when there are any, after the pages that show them."""
    input:
        runs=expand(f"results/{PRESET}/lists/{{shown}}.txt", shown=SHOWN),
        pages=expand(f"results/{PRESET}/{{task}}.html", task=TASKS),
        records=expand("{folder}/run.json", folder=all_runs()),
    output:
        report(f"results/{PRESET}/verdict.txt", category="Verdict"),
    log:
        f"results/{PRESET}/logs/verdict.log",
    benchmark:
        f"results/{PRESET}/logs/verdict.benchmark.tsv"
    retries: 0  # its failing is its word
    params:
        lists=expand(f"@results/{PRESET}/lists/{{shown}}.txt", shown=SHOWN),
    shell:
        r"""
        python -m pipeline.verdict \
            --runs {params.lists:q} \
            --out {output:q} \
            2>&1 | tee {log:q}
        """
