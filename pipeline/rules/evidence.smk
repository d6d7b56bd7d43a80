"""What makes numbers trusted: every reading, diversity, the paper's statements, a user study, the gate.

in:  tables, lists and run folders; baselines/<preset>/; answers of a study
out: results/<preset>/tables/<shown>/{protocols,comparisons,published,diversity,norms}.*,
     results/<preset>/evidence/, results/<preset>/study/<task>/

    snakemake regression --cores all --config preset=smoke [baseline=FOLDER]
    snakemake study_results --cores all --config preset=mini [answers=FOLDER]
"""

BASELINE = Path(str(config.get("baseline", ROOT / "baselines" / PRESET)))
STUDY_SEED = 1  # of ids and orders; the key beside the study tells them too
LAST = [one for one in SHOWN if "." not in one]  # where each task's columns end


def task_candidates(wildcards):
    return SPEC["tasks"][wildcards.shown.partition(".")[0]]["candidates"]


def reading_options(wildcards=None):
    """Further pools and prefixes of captions, as options of metrics.protocols."""
    given = {
        "--pools": SPEC["evaluation"]["pools"],
        "--prefixes": SPEC["evaluation"]["prefixes"],
    }
    return [part for o, values in given.items() if values for part in (o, *values)]


def baseline_folder(wildcards):
    return str(BASELINE / wildcards.shown)


def baseline_of(wildcards):
    """The files of the baseline of what is shown; stops the workflow where there are none."""
    folder = Path(baseline_folder(wildcards))
    names = ("baseline.json", "scores.csv", "traces.csv")
    if not all((folder / name).is_file() for name in names):
        raise WorkflowError(
            f"{folder}: no baseline of {wildcards.shown}; name one with --config baseline=FOLDER, "
            f"or write it: snakemake baseline --config preset={PRESET}"
        )
    return [str(folder / name) for name in names]


def answer_files(wildcards):
    """What participants sent, from --config answers=FOLDER or beside the study; often none."""
    folder = config.get("answers", f"results/{PRESET}/study/{wildcards.task}/answers")
    return sorted(map(str, Path(str(folder)).glob("*.json")))


def frozen_study_file(wildcards):
    """The study that was handed out, whatever became of its runs since; else one to be made."""
    folder = f"results/{PRESET}/study/{wildcards.task}"
    handed_out = Path(folder, "study.json").is_file()
    return f"{folder}/study.json" if handed_out else f"{folder}/frozen.txt"


def last_views(wildcards):
    return [f"{folder}/views/views.json" for folder in run_folders(wildcards.task)]


def described_files(task, column, wildcards):
    """What another system's column is made from, beside its description."""
    try:
        source = read_source(Path(SPEC["tasks"][task]["external"][column]))
        return list(map(str, made_from(source, recipes.prompts(SPEC, task))))
    except ArtifactError as error:
        raise WorkflowError(str(error))


def prompt_texts(task):
    """The checksum of the prompts that a task asks for: names of files are made from them."""
    return presets.digest([prompt.text for prompt in recipes.prompts(SPEC, task)])


def external_runs(task, column):
    return plan.run_folders(PRESET, SPEC, task, column=column)


for task, spec in SPEC["tasks"].items():
    for column, description in spec.get("external", {}).items():

        rule:
            name:
                f"external_{task}_{column}"
            input:
                spec=description,
                files=functools.partial(described_files, task, column),
            output:
                records=expand("{f}/run.json", f=external_runs(task, column)),
                views=expand("{f}/views/views.json", f=external_runs(task, column)),
                report=f"results/{PRESET}/runs/{task}/{column}/external.json",
            log:
                f"results/{PRESET}/logs/external.{task}.{column}.log",
            benchmark:
                f"results/{PRESET}/logs/external.{task}.{column}.benchmark.tsv"
            params:
                preset=PRESET,
                task=task,
                column=column,
                prompts=spec["prompts"],
                texts=prompt_texts(task),
                limit=["--limit", str(spec["limit"])] if spec["limit"] else [],
                settings=json.dumps(SPEC["stages"][spec["chain"][-1]]["views"]),
                folder=subpath(output.report, parent=True),
            shell:
                r"""
                python -m pipeline.external \
                    --spec {input.spec:q} \
                    --column {params.column:q} \
                    --preset {params.preset:q} \
                    --task {params.task:q} \
                    --prompts {params.prompts:q} \
                    {params.limit:q} \
                    --settings {params.settings:q} \
                    --threads {threads} \
                    --out {params.folder:q} \
                    2>&1 | tee {log:q}
                """


rule protocols:
    """Every reading of CLIP score and R-Precision with its interval, and published numbers beside ours."""
    input:
        runs=f"results/{PRESET}/lists/{{shown}}.txt",
        texts=f"results/{PRESET}/tables/texts.npz",
        embeddings=shown_embeddings,
    output:
        protocols=f"results/{PRESET}/tables/{{shown}}/protocols.parquet",
        comparisons=f"results/{PRESET}/tables/{{shown}}/comparisons.parquet",
        published=f"results/{PRESET}/tables/{{shown}}/published.parquet",
        readings=f"results/{PRESET}/tables/{{shown}}/readings.json",
    log:
        f"results/{PRESET}/logs/protocols.{{shown}}.log",
    benchmark:
        f"results/{PRESET}/logs/protocols.{{shown}}.benchmark.tsv"
    params:
        model=clip_model(),
        candidates=task_candidates,
        readings=reading_options,
        texts=all_caption_texts(),
        background=backgrounds()[0],
        cameras=evaluated_cameras,
        level=SPEC["evaluation"]["level"],
        folder=subpath(output.protocols, parent=True),
    shell:
        r"""
        python -m metrics.protocols \
            --model {params.model:q} \
            --texts {input.texts:q} \
            --candidates {params.candidates:q} \
            {params.readings:q} \
            --background {params.background:q} \
            --cameras {params.cameras:q} \
            --level {params.level:q} \
            --out {params.folder:q} \
            --runs @{input.runs:q} \
            >{log:q} 2>&1
        """


rule diversity:
    """How different a prompt's seeds are; with one seed the table says that nothing was run."""
    input:
        runs=f"results/{PRESET}/lists/{{shown}}.txt",
        texts=f"results/{PRESET}/tables/texts.npz",
        embeddings=shown_embeddings,
        truth=truth_files,
    output:
        f"results/{PRESET}/tables/{{shown}}/diversity.parquet",
    log:
        f"results/{PRESET}/logs/diversity.{{shown}}.log",
    benchmark:
        f"results/{PRESET}/logs/diversity.{{shown}}.benchmark.tsv"
    params:
        model=clip_model(),
        candidates=task_candidates,
        texts=candidate_texts,
        truth=truth_option(),
        background=backgrounds()[0],
        level=SPEC["evaluation"]["level"],
        folder=subpath(output[0], parent=True),
    shell:
        r"""
        python -m metrics.diversity \
            --model {params.model:q} \
            --texts {input.texts:q} \
            --candidates {params.candidates:q} \
            {params.truth:q} \
            --background {params.background:q} \
            --level {params.level:q} \
            --out {params.folder:q} \
            --runs @{input.runs:q} \
            2>&1 | tee {log:q}
        """


rule norms:
    """How large the two parts of each direction are against one another, by third of the run."""
    input:
        f"results/{PRESET}/tables/{{shown}}/traces.parquet",
    output:
        f"results/{PRESET}/tables/{{shown}}/norms.csv",
    log:
        f"results/{PRESET}/logs/norms.{{shown}}.log",
    benchmark:
        f"results/{PRESET}/logs/norms.{{shown}}.benchmark.tsv"
    params:
        level=SPEC["evaluation"]["level"],
    shell:
        r"""
        python -m metrics.norms \
            --traces {input:q} \
            --level {params.level:q} \
            --out {output:q} \
            >{log:q} 2>&1
        """


rule statements:
    """Which of the paper's statements this preset's tables bear out."""
    input:
        tables=f"results/{PRESET}/tables/{TASKS[0]}/summary.csv",
        pairs=f"results/{PRESET}/tables/{TASKS[0]}/pairs.parquet",
        norms=f"results/{PRESET}/tables/{TASKS[0]}/norms.csv",
    output:
        f"results/{PRESET}/evidence/statements.md",
    log:
        f"results/{PRESET}/logs/statements.log",
    benchmark:
        f"results/{PRESET}/logs/statements.benchmark.tsv"
    params:
        named=f"{PRESET}=results/{PRESET}/tables/{TASKS[0]}",
    shell:
        r"""
        python -m reports.statements {params.named:q} \
            --out {output:q} \
            >{log:q} 2>&1
        """


rule frozen_study:
    """A study of a task's finished runs. Frozen: where one lies, another is refused."""
    input:
        runs=f"results/{PRESET}/lists/{{task}}.txt",
        views=last_views,
    output:
        f"results/{PRESET}/study/{{task}}/frozen.txt",
    log:
        f"results/{PRESET}/logs/study.{{task}}.log",
    benchmark:
        f"results/{PRESET}/logs/study.{{task}}.benchmark.tsv"
    params:
        columns=COLUMNS,
        seed=STUDY_SEED,
        folder=subpath(output[0], parent=True),
    shell:
        r"""
        python -m reports.study build \
            --runs {input.runs:q} \
            --task {wildcards.task:q} \
            --columns {params.columns:q} \
            --seed {params.seed:q} \
            --out {params.folder:q} \
            2>&1 | tee {log:q} {output:q}
        """


rule study_answers:
    """Tables, figure and page of the answers; without any, all of them say that nobody was asked."""
    input:
        frozen=frozen_study_file,
        answers=answer_files,
    output:
        page=f"results/{PRESET}/study/{{task}}/results/study_results.html",
        table=f"results/{PRESET}/study/{{task}}/results/study.csv",
    log:
        f"results/{PRESET}/logs/study_results.{{task}}.log",
    benchmark:
        f"results/{PRESET}/logs/study_results.{{task}}.benchmark.tsv"
    params:
        study=f"results/{PRESET}/study/{{task}}",
        folder=subpath(output.page, parent=True),
    shell:
        r"""
        python -m reports.study analyse {input.answers:q} \
            --study {params.study:q}/study.json \
            --key {params.study:q}/key.json \
            --out {params.folder:q} \
            2>&1 | tee {log:q}
        """


rule compared:
    """A run's numbers and traces against a committed baseline; fails when they are worse."""
    input:
        scores=f"results/{PRESET}/tables/{{shown}}/scores.parquet",
        traces=f"results/{PRESET}/tables/{{shown}}/traces.parquet",
        baseline=baseline_of,
        goldens=str(ROOT / "baselines" / "goldens" / "goldens.json"),
    output:
        f"results/{PRESET}/evidence/regression.{{shown}}.txt",
    log:
        f"results/{PRESET}/logs/regression.{{shown}}.log",
    benchmark:
        f"results/{PRESET}/logs/regression.{{shown}}.benchmark.tsv"
    retries: 0  # its failing is its word
    params:
        tables=subpath(input.scores, parent=True),
        baseline=baseline_folder,
        goldens=subpath(input.goldens, parent=True),
    shell:
        r"""
        python -m metrics.regression \
            --tables {params.tables:q} \
            --baseline {params.baseline:q} \
            --goldens {params.goldens:q} \
            --out {output:q} \
            2>&1 | tee {log:q}
        """


rule new_baseline:
    """This run's numbers and norms as the baseline of later ones; never made by itself."""
    input:
        scores=f"results/{PRESET}/tables/{{shown}}/scores.parquet",
        traces=f"results/{PRESET}/tables/{{shown}}/traces.parquet",
    output:
        touch(f"results/{PRESET}/evidence/baseline.{{shown}}.written"),
    log:
        f"results/{PRESET}/logs/baseline.{{shown}}.log",
    benchmark:
        f"results/{PRESET}/logs/baseline.{{shown}}.benchmark.tsv"
    params:
        tables=subpath(input.scores, parent=True),
        folder=baseline_folder,
    shell:
        r"""
        python -m metrics.regression \
            --update \
            --tables {params.tables:q} \
            --baseline {params.folder:q} \
            2>&1 | tee {log:q}
        """


rule regression:
    """The gate: every table of the preset that has a baseline, and the metric code's known numbers."""
    input:
        expand(f"results/{PRESET}/evidence/regression.{{shown}}.txt", shown=SHOWN),


rule baseline:
    """Writes the baseline of every table of the preset; commit it with the reason."""
    input:
        expand(f"results/{PRESET}/evidence/baseline.{{shown}}.written", shown=SHOWN),


rule study:
    """A blind study a task, to be handed out: results/<preset>/study/<task>/participants/study.html."""
    input:
        expand(f"results/{PRESET}/study/{{task}}/frozen.txt", task=LAST),


rule study_results:
    """The study's results a task, or a page that says it was not run."""
    input:
        expand(f"results/{PRESET}/study/{{task}}/results/study_results.html", task=LAST),


rule evidence:
    """Readings, diversity, norms and statements of every table."""
    input:
        expand(
            f"results/{PRESET}/tables/{{shown}}/{{table}}",
            shown=LAST,
            table=["protocols.parquet", "diversity.parquet", "norms.csv"],
        ),
        f"results/{PRESET}/evidence/statements.md",
