"""The limitation "artefacts in 2D, not in 3D": a method's plain pictures beside its objects.

in:  the first stage's finished runs, the world's bank
out: results/<preset>/figures/fig_2d/: pictures/<column>/<prompt_id>/seed<k>/<view>/,
     fig_2d.{png,svg,csv,txt}

    snakemake fig_2d --cores all --config preset=mini
"""

FIG_2D = f"results/{PRESET}/figures/fig_2d"
FIG_2D_VIEWS = ("front", "left")
# Adam on pixels; twice what pictures of 32 pixels need to come to rest
FIG_2D_RATES = {"betas": [0.9, 0.99], "eps": 1.0e-15, "image": 0.02}


def fig_2d_stage():
    """The stage of radiance fields, which every column begins with; the workflow stops without."""
    chain = SPEC["tasks"]["geometry"]["chain"] if "geometry" in TASKS else []
    if WORLD is None or not chain:
        raise WorkflowError(
            f"fig_2d compares with the toy world's renders, which the preset {PRESET} has not: "
            "use preset=mini"
        )
    return chain[0]


def fig_2d_shown():
    """Under which name the runs of that stage are listed."""
    named = f"geometry.{fig_2d_stage()}"
    return named if named in SHOWN else "geometry"


def fig_2d_list(wildcards):
    return f"results/{PRESET}/lists/{fig_2d_shown()}.txt"


def fig_2d_runs(wildcards):
    return [f"{folder}/views/views.json" for folder in run_folders(fig_2d_shown())]


def fig_2d_of(prompt_id, seed):
    """The record of every picture of one prompt and seed."""
    return [
        f"{FIG_2D}/pictures/{column}/{prompt_id}/seed{seed}/{view}/picture.json"
        for column in COLUMNS
        for view in FIG_2D_VIEWS
    ]


def fig_2d_pictures(wildcards):
    fig_2d_stage()
    asked = [p.prompt_id for p in recipes.prompts(SPEC, "geometry")]
    return [
        path for i in asked for seed in SPEC["seeds"] for path in fig_2d_of(i, seed)
    ]


def fig_2d_keys(wildcards):
    """What decides the pictures: the settings of the runs that they belong to."""
    place = {"stage": fig_2d_stage(), "prompt_id": wildcards.prompt_id}
    place["seed"] = int(wildcards.seed)
    jobs = [presets.job(PRESET, column=column, **place) for column in COLUMNS]
    return presets.digest([job.key() for job in jobs])


def fig_2d_stage_name(wildcards):
    return fig_2d_stage()


def fig_2d_weights(wildcards):
    """The weights of the learned priors that some run uses."""
    return [path for name in LEARNED for path in weights_of(SPEC["priors"][name])]


def fig_2d_optimizer(wildcards=None):
    """Adam's settings as JSON; the decay is the runs'."""
    rates = SPEC["stages"][fig_2d_stage()]["optimizer"]
    return json.dumps(FIG_2D_RATES | {"decay": rates["decay"]})


rule pictures:
    """Every column's plain pictures of one prompt and seed."""
    input:
        bank=bank_listing,
        weights=fig_2d_weights,
    output:
        fig_2d_of("{prompt_id}", "{seed}"),
    log:
        f"results/{PRESET}/logs/fig_2d-{{prompt_id}}-{{seed}}.log",
    benchmark:
        f"results/{PRESET}/logs/fig_2d-{{prompt_id}}-{{seed}}.benchmark.tsv"
    params:
        preset=PRESET,
        runs=fig_2d_keys,
        stage=fig_2d_stage_name,
        columns=COLUMNS,
        views=FIG_2D_VIEWS,
        optimizer=fig_2d_optimizer,
        bank=bank_option,
        folder=f"{FIG_2D}/pictures",
    shell:
        r"""
        python -m pipeline.optimize_image \
            --preset {params.preset:q} \
            --stage {params.stage:q} \
            --prompt-id {wildcards.prompt_id:q} \
            --seed {wildcards.seed:q} \
            --columns {params.columns:q} \
            --views {params.views:q} \
            --optimizer {params.optimizer:q} \
            --threads {threads} \
            --out {params.folder:q} \
            {params.bank:q} \
            >{log:q} 2>&1
        """


rule fig_2d:
    """Pictures beside views, and the differences between the two with their intervals."""
    input:
        pictures=fig_2d_pictures,
        runs=fig_2d_list,
        views=fig_2d_runs,
        bank=bank_files,
    output:
        expand(
            "results/{preset}/figures/fig_2d/{name}",
            preset=PRESET,
            name=["fig_2d.csv", "fig_2d_pictures.csv"]
            + [f"fig_2d.{kind}" for kind in ("png", "svg", "txt")],
        ),
    log:
        f"results/{PRESET}/logs/fig_2d.log",
    benchmark:
        f"results/{PRESET}/logs/fig_2d.benchmark.tsv"
    params:
        pictures=f"{FIG_2D}/pictures",
        views=FIG_2D_VIEWS,
        bank=f"results/{PRESET}/bank",
        level=SPEC["evaluation"]["level"],
        folder=FIG_2D,
    shell:
        r"""
        python -m metrics.fig_2d \
            --pictures {params.pictures:q} \
            --bank {params.bank:q} \
            --level {params.level:q} \
            --views {params.views:q} \
            --out {params.folder:q} \
            --runs @{input.runs:q} \
            >{log:q} 2>&1
        python -m reports.paper.fig_2d \
            --tables {params.folder:q} \
            --pictures {params.pictures:q} \
            --runs {input.runs:q} \
            --out {params.folder:q} \
            >>{log:q} 2>&1
        """
