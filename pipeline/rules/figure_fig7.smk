"""Fig. 7 of the paper: DDS (eq. 14) and its parts edit plain pictures of toy objects.

in:  the world's bank; the plan presets/figures/fig7.yaml
out: results/<preset>/figures/fig7/: pictures/<prior>/, fig7.{png,svg,csv,txt}

    snakemake fig7 --cores all --config preset=mini
"""

from methods.distill import METHODS  # noqa: E402
from pipeline import edit_image  # noqa: E402

FIG7_PLAN = str(ROOT / "presets/figures/fig7.yaml")
FIG7 = edit_image.read_plan(Path(FIG7_PLAN))
FIG7_PICTURES = f"results/{PRESET}/figures/fig7/pictures"


def fig7_priors(wildcards=None):
    """The preset's exact prior and those that see pictures' pixels; the first of each kind."""
    if WORLD is None:
        raise WorkflowError(
            f"fig7 edits pictures of the toy world, which the preset {PRESET} has not: "
            "use preset=mini"
        )
    kinds = {}
    for name, spec in SPEC["priors"].items():
        if spec["kind"] in ("mixture", "deepfloyd") and "hub" not in spec:
            kinds.setdefault(spec["kind"], name)
    return list(kinds.values())


def fig7_of(prior):
    """The record of every picture under one prior."""
    return [
        f"{FIG7_PICTURES}/{prior}/{edit}/{row}/seed{seed}/picture.json"
        for edit in FIG7["edits"]
        for row in FIG7["columns"]
        for seed in FIG7["seeds"]
    ]


def fig7_pictures(wildcards):
    return [path for prior in fig7_priors() for path in fig7_of(prior)]


def fig7_folders(wildcards):
    return [str(Path(path).parent) for path in fig7_pictures(wildcards)]


def fig7_weights(wildcards):
    return weights_of(SPEC["priors"][wildcards.prior])


def fig7_prior(wildcards):
    """The prior's settings, as JSON."""
    spec = {
        k: v for k, v in SPEC["priors"][wildcards.prior].items() if k != "overrides"
    }
    return json.dumps({"name": wildcards.prior, **spec})


def fig7_described():
    """What decides the pictures besides prior and bank: the plan and its methods' versions."""
    rows = FIG7["columns"].values()
    versions = {row["method"]: METHODS[row["method"]].version for row in rows}
    return presets.digest([FIG7, versions])


rule edit_images:
    """Every edit of the plan under one prior."""
    input:
        bank=bank_files,
        weights=fig7_weights,
    output:
        fig7_of("{prior}"),
    log:
        f"results/{PRESET}/logs/fig7_{{prior}}.log",
    benchmark:
        f"results/{PRESET}/logs/fig7_{{prior}}.benchmark.tsv"
    params:
        plan=FIG7_PLAN,
        described=fig7_described(),
        prior=fig7_prior,
        bank=f"results/{PRESET}/bank",
        folder=f"{FIG7_PICTURES}/{{prior}}",
    shell:
        r"""
        python -m pipeline.edit_image \
            --plan {params.plan:q} \
            --prior {params.prior:q} \
            --bank {params.bank:q} \
            --threads {threads} \
            --out {params.folder:q} \
            >{log:q} 2>&1
        """


rule fig7:
    """A row a prior and edit, a column a part of DDS; likeness to the source and to the true target."""
    input:
        pictures=fig7_pictures,
        bank=bank_files,
    output:
        expand(
            "results/{preset}/figures/fig7/{name}",
            preset=PRESET,
            name=["fig7.csv", "fig7_pictures.csv", "fig7.png", "fig7.svg", "fig7.txt"],
        ),
    log:
        f"results/{PRESET}/logs/fig7.log",
    benchmark:
        f"results/{PRESET}/logs/fig7.benchmark.tsv"
    params:
        pictures=fig7_folders,
        bank=f"results/{PRESET}/bank",
        folder=subpath(output[0], parent=True),
    shell:
        r"""
        python -m metrics.fig7 \
            --pictures {params.pictures:q} \
            --bank {params.bank:q} \
            --out {params.folder:q} \
            >{log:q} 2>&1
        python -m reports.paper.fig7 \
            --tables {params.folder:q} \
            --pictures {params.pictures:q} \
            --out {params.folder:q} \
            >>{log:q} 2>&1
        """
