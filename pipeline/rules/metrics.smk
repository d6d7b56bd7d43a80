"""Embeddings of captions and views, then every number with its interval.

in:  views/ of every run, truth renders (miniature)
out: embeddings.npz a run; results/<preset>/tables/<shown>/{scores,summary,pairs,traces}.{parquet,csv}
"""


rule embed:
    """All captions once, all views of all runs; the encoder is loaded once."""
    input:
        runs=expand(f"results/{PRESET}/lists/{{shown}}.txt", shown=SHOWN),
        views=expand("{folder}/views/views.json", folder=all_runs()),
        model=clip_files,
    output:
        texts=f"results/{PRESET}/tables/texts.npz",
        embeddings=expand("{folder}/embeddings.npz", folder=all_runs()),
    log:
        f"results/{PRESET}/logs/embed.log",
    benchmark:
        f"results/{PRESET}/logs/embed.benchmark.tsv"
    resources:
        gpu=GPUS,
    params:
        model=clip_model(),
        backgrounds=backgrounds(),
        candidates=all_caption_options(),
        texts=all_caption_texts(),
        lists=expand(f"@results/{PRESET}/lists/{{shown}}.txt", shown=SHOWN),
        device=SPEC["device"],
    shell:
        r"""
        {OWN_DEVICE} python -m metrics.embed \
            --model {params.model:q} \
            {params.candidates:q} \
            --backgrounds {params.backgrounds:q} \
            --device {params.device:q} \
            --texts {output.texts:q} \
            --runs {params.lists:q} \
            >{log:q} 2>&1
        """


rule score:
    """CLIP score, R-Precision, truth metrics and image statistics; intervals and paired tests."""
    input:
        runs=f"results/{PRESET}/lists/{{shown}}.txt",
        texts=f"results/{PRESET}/tables/texts.npz",
        embeddings=shown_embeddings,
        truth=truth_files,
    output:
        scores=f"results/{PRESET}/tables/{{shown}}/scores.parquet",
        summary=f"results/{PRESET}/tables/{{shown}}/summary.parquet",
        table=report(
            f"results/{PRESET}/tables/{{shown}}/summary.csv",
            category="Tables",
            labels={"shown": "{shown}"},
        ),
        pairs=f"results/{PRESET}/tables/{{shown}}/pairs.parquet",
        traces=f"results/{PRESET}/tables/{{shown}}/traces.parquet",
        protocols=f"results/{PRESET}/tables/{{shown}}/protocols.json",
    log:
        f"results/{PRESET}/logs/score.{{shown}}.log",
    benchmark:
        f"results/{PRESET}/logs/score.{{shown}}.benchmark.tsv"
    params:
        model=clip_model(),
        background=backgrounds()[0],
        others=other_background_options(),
        candidates=candidate_options,
        texts=candidate_texts,
        truth=truth_option(),
        cameras=evaluated_cameras,
        level=SPEC["evaluation"]["level"],
        folder=subpath(output.scores, parent=True),
    shell:
        r"""
        python -m metrics.score \
            --model {params.model:q} \
            --texts {input.texts:q} \
            {params.candidates:q} \
            {params.truth:q} \
            --background {params.background:q} \
            {params.others:q} \
            --cameras {params.cameras:q} \
            --level {params.level:q} \
            --out {params.folder:q} \
            --runs @{input.runs:q} \
            >{log:q} 2>&1
        """
