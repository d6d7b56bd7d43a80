"""Optimisation and rendering: one job a stage of each (column, prompt, seed), one for its pictures.

in:  the image bank (miniature), the scene of the stage before
out: the lists of runs; scene.safetensors, run.json, trace.parquet; views/ and turntable in the run folder
"""


rule plan:
    """The run folders of each task and stage, one a line: what tables and pages show, whatever else lies there."""
    output:
        expand(f"results/{PRESET}/lists/{{shown}}.txt", shown=SHOWN),
    log:
        f"results/{PRESET}/logs/plan.log",
    benchmark:
        f"results/{PRESET}/logs/plan.benchmark.tsv"
    params:
        preset=PRESET,
        runs=presets.digest([run_folders(one) for one in SHOWN]),
        folder=subpath(output[0], parent=True),
        external=EXTERNAL,
    shell:
        r"""
        python -m pipeline.plan \
            --preset {params.preset:q} \
            --out {params.folder:q} \
            --external {params.external:q} \
            >{log:q} 2>&1
        """


rule texts:
    """Every text that the runs put to a learned prior, embedded once: no run loads a text encoder."""
    input:
        text_weights,
    output:
        f"results/{PRESET}/texts/{{prior}}.json",
    log:
        f"results/{PRESET}/logs/texts.{{prior}}.log",
    benchmark:
        f"results/{PRESET}/logs/texts.{{prior}}.benchmark.tsv"
    resources:
        gpu=GPUS,
    params:
        preset=PRESET,
        listed=texts_listed,
        prior=text_prior,
        cache=f"results/{PRESET}/texts/cache",
        device=SPEC["device"],
    shell:
        r"""
        {OWN_DEVICE} python -m pipeline.texts \
            --preset {params.preset:q} \
            --prior {wildcards.prior:q} \
            --cache {params.cache:q} \
            --device {params.device:q} \
            --out {output:q} \
            >{log:q} 2>&1
        """


rule optimize:
    """One stage of one run; checkpoints beside the outputs, undeclared, survive a kill."""
    input:
        prior=prior_files,
        previous=previous,
        mesh=mesh_files,
    output:
        scene=f"{RUN}/scene.safetensors",
        record=f"{RUN}/run.json",
        trace=f"{RUN}/trace.parquet",
    log:
        f"{RUN}/optimize.log",
    benchmark:
        f"{RUN}/optimize.benchmark.tsv"
    resources:
        gpu=GPUS,
    params:
        preset=PRESET,
        key=job_key,
        folder=subpath(output.scene, parent=True),
        prior=prior_options,
        init=init_option,
    shell:
        r"""
        {OWN_DEVICE} python -m pipeline.optimize \
            --preset {params.preset:q} \
            --column {wildcards.column:q} \
            --stage {wildcards.stage:q} \
            --prompt-id {wildcards.prompt_id:q} \
            --seed {wildcards.seed:q} \
            --threads {threads} \
            --out {params.folder:q} \
            {params.prior:q} {params.init:q} \
            2>&1 | tee {log:q}
        """


rule views:
    """Four views with normals and depth, the turntable and its poster, the result as a mesh."""
    input:
        scene=f"{RUN}/scene.safetensors",
        record=f"{RUN}/run.json",
        atlas=atlas_files,
    output:
        listing=f"{RUN}/views/views.json",
    log:
        f"{RUN}/views.log",
    benchmark:
        f"{RUN}/views.benchmark.tsv"
    params:
        folder=subpath(input.record, parent=True),
        settings=view_settings,
        mesh=atlas_option,
    shell:
        r"""
        python -m pipeline.render_views \
            --run {params.folder:q} \
            --settings {params.settings:q} \
            {params.mesh:q} \
            --threads {threads} \
            2>&1 | tee {log:q}
        """
