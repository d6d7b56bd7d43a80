"""The paper's figures and tables of this preset's finished runs; none of them is part of `all`.

in:  lists, run folders, tables, the image bank; answers of a user study
out: results/<preset>/figures/<name>/: pictures, numbers and captions

    snakemake fig1 fig3 table2 --cores all --config preset=mini

A target whose task, prior or setting the preset lacks fails with one line, which also stands in
NAME.not_run.txt.
"""

FIGURES = f"results/{PRESET}/figures"
KINDS = ["png", "svg", "csv", "txt"]
TABLE_KINDS = [*KINDS, "html", "md"]


def paper_lists(task):
    """The list of a task's last stages; none where the preset has no such task."""
    return [f"results/{PRESET}/lists/{task}.txt"] if task in TASKS else []


def paper_views(tasks):
    return [
        f"{folder}/views/views.json"
        for task in tasks
        if task in TASKS
        for folder in run_folders(task)
    ]


def paper_options(*tasks):
    """--TASK LIST of the tasks that the preset has."""
    return [part for t in tasks for path in paper_lists(t) for part in (f"--{t}", path)]


def runs_option(task):
    return [part for path in paper_lists(task) for part in ("--runs", path)]


def geometry_tables(*names):
    """Tables of text-to-3D; stops the workflow, for these targets alone, where there is none."""
    return [
        f"results/{PRESET}/tables/geometry/{n}" for n in names if "geometry" in TASKS
    ]


def earlier_lists():
    """The lists of the stages before the last ones of text-to-3D."""
    return [f"results/{PRESET}/lists/{one}.txt" for one in shown_of("geometry")[1:]]


def earlier_option():
    return ["--earlier", *earlier_lists()] if earlier_lists() else []


def study_table():
    """The study's results, once `snakemake study_results` has made them; a table freezes no study."""
    path = Path(f"results/{PRESET}/study/geometry/results/study.csv")
    return path if path.is_file() else None


def study_option(wildcards=None):
    path = study_table()
    return ["--study", str(path.parent)] if path else []


def study_checksum(wildcards=None):
    """Other answers make the table anew."""
    path = study_table()
    return presets.digest(path.read_text(encoding="utf-8")) if path else None


def kept_shown():
    """What is shown of text-to-3D whose stage keeps its scene on the way; None where none does."""
    for one in shown_of("geometry"):
        stage = one.partition(".")[2] or SPEC["tasks"]["geometry"]["chain"][-1]
        if SPEC["stages"][stage]["snapshots"]:
            return one
    return None


KEPT = kept_shown()


def kept_files(pattern):
    return [pattern.format(kept=KEPT)] if KEPT else []


def kept_records():
    return [f"{folder}/run.json" for folder in run_folders(KEPT)] if KEPT else []


def speed_options():
    """Tables and runs of the figure; neither where no stage keeps its scenes."""
    runs = kept_files(f"results/{PRESET}/lists/{{kept}}.txt")
    return ["--tables", f"{FIGURES}/speed", "--runs", *runs] if KEPT else []


def geometry_cameras():
    """Where the views of text-to-3D are seen from, as JSON."""
    if "geometry" not in TASKS:
        return "{}"
    views = SPEC["stages"][SPEC["tasks"]["geometry"]["chain"][-1]]["views"]
    return json.dumps({key: views[key] for key in presets.EVALUATED})


def bank_needed(wildcards):
    """The bank; stops the workflow, for this target alone, where there is no exact prior."""
    if WORLD is None:
        raise WorkflowError(
            f"equations: not run: preset {PRESET} has no toy world, hence no exact prior; "
            "use --config preset=mini"
        )
    return bank_listing()


rule fig1:
    """Figure 1: own results of text-to-3D, with normals, and of textures."""
    input:
        lists=[*paper_lists("geometry"), *paper_lists("texture")],
        views=paper_views(["geometry", "texture"]),
    output:
        report(
            expand(f"{FIGURES}/fig1/fig1.{{kind}}", kind=KINDS),
            category="Paper",
            subcategory="Figure 1",
            caption="../../reports/captions/fig1.rst",
        ),
    log:
        f"results/{PRESET}/logs/fig1.log",
    benchmark:
        f"results/{PRESET}/logs/fig1.benchmark.tsv"
    params:
        runs=paper_options("geometry", "texture"),
        folder=subpath(output[0], parent=True),
    shell:
        r"""
        python -m reports.paper.fig1 {params.runs:q} \
            --out {params.folder:q} \
            2>&1 | tee {log:q}
        """


rule fig3:
    """Figure 3: every column's objects side by side, a row a view."""
    input:
        lists=paper_lists("geometry"),
        views=paper_views(["geometry"]),
    output:
        report(
            expand(f"{FIGURES}/fig3/fig3.{{kind}}", kind=KINDS),
            category="Paper",
            subcategory="Figure 3",
            caption="../../reports/captions/fig3.rst",
        ),
    log:
        f"results/{PRESET}/logs/fig3.log",
    benchmark:
        f"results/{PRESET}/logs/fig3.benchmark.tsv"
    params:
        runs=runs_option("geometry"),
        folder=subpath(output[0], parent=True),
    shell:
        r"""
        python -m reports.paper.comparison fig3 {params.runs:q} \
            --out {params.folder:q} \
            2>&1 | tee {log:q}
        """


rule fig4:
    """Figure 4: the bare meshes and every column's textures; fails where no texture was asked for."""
    input:
        lists=paper_lists("texture"),
        views=paper_views(["texture"]),
    output:
        report(
            expand(f"{FIGURES}/fig4/fig4.{{kind}}", kind=KINDS),
            category="Paper",
            subcategory="Figure 4",
            caption="../../reports/captions/fig4.rst",
        ),
    log:
        f"results/{PRESET}/logs/fig4.log",
    benchmark:
        f"results/{PRESET}/logs/fig4.benchmark.tsv"
    params:
        runs=runs_option("texture"),
        folder=subpath(output[0], parent=True),
    shell:
        r"""
        python -m reports.paper.comparison fig4 {params.runs:q} \
            --out {params.folder:q} \
            2>&1 | tee {log:q}
        """


rule table1:
    """Table 1: the user study beside the published one; says that it was not run until it is."""
    output:
        report(
            expand(f"{FIGURES}/table1/table1.{{kind}}", kind=TABLE_KINDS),
            category="Paper",
            subcategory="Table 1",
            caption="../../reports/captions/table1.rst",
        ),
    log:
        f"results/{PRESET}/logs/table1.log",
    benchmark:
        f"results/{PRESET}/logs/table1.benchmark.tsv"
    params:
        study=study_option,
        answers=study_checksum,
        folder=subpath(output[0], parent=True),
    shell:
        r"""
        python -m reports.paper.table1 {params.study:q} \
            --out {params.folder:q} \
            2>&1 | tee {log:q}
        """


rule table2:
    """Table 2: CLIP score and R-Precision by the protocol `paper`, beside the published numbers."""
    input:
        runs=paper_lists("geometry"),
        tables=geometry_tables("protocols.parquet", "published.parquet"),
    output:
        report(
            expand(f"{FIGURES}/table2/table2.{{kind}}", kind=TABLE_KINDS),
            category="Paper",
            subcategory="Table 2",
            caption="../../reports/captions/table2.rst",
        ),
    log:
        f"results/{PRESET}/logs/table2.log",
    benchmark:
        f"results/{PRESET}/logs/table2.benchmark.tsv"
    params:
        runs=runs_option("geometry"),
        tables=f"results/{PRESET}/tables/geometry",
        folder=subpath(output[0], parent=True),
    shell:
        r"""
        python -m reports.paper.table2 {params.runs:q} \
            --tables {params.tables:q} \
            --out {params.folder:q} \
            2>&1 | tee {log:q}
        """


rule equation_residuals:
    """Both sides of every equation under the exact mixture, on inputs drawn anew."""
    input:
        bank_needed,
    output:
        f"{FIGURES}/equations/residuals.csv",
    log:
        f"results/{PRESET}/logs/equation_residuals.log",
    benchmark:
        f"results/{PRESET}/logs/equation_residuals.benchmark.tsv"
    params:
        bank=f"results/{PRESET}/bank",
    shell:
        r"""
        python -m pipeline.equations \
            --bank {params.bank:q} \
            --threads {threads} \
            --out {output:q} \
            2>&1 | tee {log:q}
        """


rule equations:
    """The table of equations and residuals; fails when one does not hold."""
    input:
        f"{FIGURES}/equations/residuals.csv",
    output:
        report(
            expand(f"{FIGURES}/equations/equations.{{kind}}", kind=TABLE_KINDS),
            category="Paper",
            subcategory="Equations",
            caption="../../reports/captions/equations.rst",
        ),
    log:
        f"results/{PRESET}/logs/equations.log",
    benchmark:
        f"results/{PRESET}/logs/equations.benchmark.tsv"
    retries: 0  # its failing is its word
    params:
        folder=subpath(output[0], parent=True),
    shell:
        r"""
        python -m reports.paper.equations \
            --residuals {input:q} \
            --out {params.folder:q} \
            2>&1 | tee {log:q}
        """


rule speed_views:
    """The four views of every scene that was kept on the way."""
    input:
        runs=kept_files(f"results/{PRESET}/lists/{{kept}}.txt"),
        records=kept_records(),
    output:
        f"{FIGURES}/speed/snapshots.json",
    log:
        f"results/{PRESET}/logs/speed_views.log",
    benchmark:
        f"results/{PRESET}/logs/speed_views.benchmark.tsv"
    shell:
        r"""
        python -m pipeline.render_snapshots \
            --runs @{input.runs:q} \
            --threads {threads} \
            --out {output:q} \
            2>&1 | tee {log:q}
        """


rule speed_scores:
    """Scores after every step at which scenes were kept, and when nine tenths of the way are done."""
    input:
        listing=f"{FIGURES}/speed/snapshots.json",
        runs=kept_files(f"results/{PRESET}/lists/{{kept}}.txt"),
        scores=kept_files(f"results/{PRESET}/tables/{{kept}}/scores.parquet"),
        texts=f"results/{PRESET}/tables/texts.npz",
        truth=truth_files,
        model=clip_files,
    output:
        expand(
            f"{FIGURES}/speed/speed_{{table}}.csv",
            table=["scores", "curves", "runs", "summary"],
        ),
    log:
        f"results/{PRESET}/logs/speed_scores.log",
    benchmark:
        f"results/{PRESET}/logs/speed_scores.benchmark.tsv"
    params:
        model=clip_model(),
        candidates=SPEC["tasks"].get("geometry", {}).get("candidates", ""),
        truth=truth_option(),
        tables=f"results/{PRESET}/tables/{KEPT}",
        background=backgrounds()[0],
        cameras=geometry_cameras(),
        level=SPEC["evaluation"]["level"],
        device=SPEC["device"],
        folder=subpath(output[0], parent=True),
    shell:
        r"""
        python -m metrics.speed \
            --listing {input.listing:q} \
            --tables {params.tables:q} \
            --texts {input.texts:q} \
            --model {params.model:q} \
            --candidates {params.candidates:q} \
            {params.truth:q} \
            --background {params.background:q} \
            --cameras {params.cameras:q} \
            --level {params.level:q} \
            --device {params.device:q} \
            --out {params.folder:q} \
            --runs @{input.runs:q} \
            2>&1 | tee {log:q}
        """


rule speed:
    """Score against steps and evaluations; fails where no stage of the preset keeps its scenes."""
    input:
        tables=kept_files(f"{FIGURES}/speed/speed_summary.csv"),
        runs=kept_files(f"results/{PRESET}/lists/{{kept}}.txt"),
    output:
        report(
            expand(f"{FIGURES}/speed/speed.{{kind}}", kind=KINDS),
            category="Paper",
            subcategory="Speed",
            caption="../../reports/captions/speed.rst",
        ),
        report(
            expand(f"{FIGURES}/speed/speed_times.{{kind}}", kind=TABLE_KINDS),
            category="Paper",
            subcategory="Speed",
            caption="../../reports/captions/speed.rst",
        ),
    log:
        f"results/{PRESET}/logs/speed.log",
    benchmark:
        f"results/{PRESET}/logs/speed.benchmark.tsv"
    params:
        sources=speed_options(),
        folder=subpath(output[0], parent=True),
    shell:
        r"""
        python -m reports.paper.speed {params.sources:q} \
            --out {params.folder:q} \
            2>&1 | tee {log:q}
        """


rule cost:
    """Quality against denoiser evaluations, all stages and networks counted."""
    input:
        runs=paper_lists("geometry"),
        earlier=earlier_lists(),
        tables=geometry_tables("summary.parquet", "pairs.parquet"),
    output:
        report(
            expand(f"{FIGURES}/cost/cost.{{kind}}", kind=KINDS),
            category="Paper",
            subcategory="Cost",
            caption="../../reports/captions/cost.rst",
        ),
        report(
            expand(f"{FIGURES}/cost/cost_table.{{kind}}", kind=TABLE_KINDS),
            category="Paper",
            subcategory="Cost",
            caption="../../reports/captions/cost.rst",
        ),
    log:
        f"results/{PRESET}/logs/cost.log",
    benchmark:
        f"results/{PRESET}/logs/cost.benchmark.tsv"
    params:
        runs=runs_option("geometry"),
        earlier=earlier_option(),
        tables=f"results/{PRESET}/tables/geometry",
        folder=subpath(output[0], parent=True),
    shell:
        r"""
        python -m reports.paper.cost {params.runs:q} {params.earlier:q} \
            --tables {params.tables:q} \
            --out {params.folder:q} \
            2>&1 | tee {log:q}
        """
