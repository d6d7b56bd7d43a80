"""Score distillation for text-to-3D, from prompts to comparison galleries.

    snakemake --cores all                        the full reproduction (preset=paper; needs CUDA)
    snakemake --cores all --config preset=mini   the miniature on a CPU

A preset (presets/<name>.yaml) decides everything; results land in results/<preset>/.
"""

from snakemake.utils import min_version

min_version("9.27")


# Beside the downloads (meshes.smk), what takes seconds runs where snakemake does, not on a cluster.
localrules:
    all,
    tables,
    plan,
    bank_checksums,
    gradient_norms,
    sweep,
    gallery,
    verdict,


include: "pipeline/rules/common.smk"
include: "pipeline/rules/world.smk"
include: "pipeline/rules/meshes.smk"
include: "pipeline/rules/optimize.smk"
include: "pipeline/rules/metrics.smk"
include: "pipeline/rules/reports.smk"
include: "pipeline/rules/evidence.smk"
include: "pipeline/rules/figures.smk"
include: "pipeline/rules/paper.smk"


rule all:
    """The galleries, then a verdict that fails when a run failed."""
    default_target: True
    input:
        expand(f"results/{PRESET}/{{task}}.html", task=TASKS),
        expand(
            f"results/{PRESET}/figures/gradient_norms.{{shown}}/gradient_norms.svg",
            shown=SHOWN,
        ),
        [f"results/{PRESET}/figures/{sweep}/sweep.png" for sweep in SPEC["sweeps"]],
        f"results/{PRESET}/verdict.txt",


rule tables:
    """Scores, intervals and paired comparisons only."""
    input:
        expand(f"results/{PRESET}/tables/{{shown}}/summary.csv", shown=SHOWN),
