"""The procedural toy world as files: the mixture's image bank, the true objects' renders.

in:  nothing but the preset's world
out: results/<preset>/bank/, results/<preset>/truth/
"""


rule bank_shape:
    """Renders of one shape, composable with every colour."""
    output:
        f"results/{PRESET}/bank/{{shape}}.safetensors",
    log:
        f"results/{PRESET}/logs/bank_shape.{{shape}}.log",
    benchmark:
        f"results/{PRESET}/logs/bank_shape.{{shape}}.benchmark.tsv"
    params:
        size=WORLD and WORLD["size"],
        seed=WORLD and WORLD["seed"],
        diversity=WORLD and WORLD["diversity"],
        renders=shape_count,
        camera=bank_cameras,
    shell:
        r"""
        python -m pipeline.toyworld.bank \
            --shape {wildcards.shape:q} \
            --count {params.renders:q} \
            --size {params.size:q} \
            --seed {params.seed:q} \
            --diversity {params.diversity:q} \
            --camera {params.camera:q} \
            --out {output:q} \
            >{log:q} 2>&1
        """


rule bank_degraded:
    """Renders of every object with each of the faults that negative prompts name."""
    output:
        f"results/{PRESET}/bank/degraded.safetensors",
    log:
        f"results/{PRESET}/logs/bank_degraded.log",
    benchmark:
        f"results/{PRESET}/logs/bank_degraded.benchmark.tsv"
    params:
        size=WORLD and WORLD["size"],
        seed=WORLD and WORLD["seed"],
        diversity=WORLD and WORLD["diversity"],
        renders=WORLD and WORLD["count_degraded"],
        camera=bank_cameras,
    shell:
        r"""
        python -m pipeline.toyworld.bank \
            --degraded \
            --count {params.renders:q} \
            --size {params.size:q} \
            --seed {params.seed:q} \
            --diversity {params.diversity:q} \
            --camera {params.camera:q} \
            --out {output:q} \
            >{log:q} 2>&1
        """


rule world:
    """The vocabulary and what the bank was made with; lies beside the bank and beside the truth."""
    output:
        f"results/{PRESET}/{{folder}}/world.json",
    log:
        f"results/{PRESET}/logs/world.{{folder}}.log",
    benchmark:
        f"results/{PRESET}/logs/world.{{folder}}.benchmark.tsv"
    wildcard_constraints:
        folder="bank|truth",
    params:
        size=WORLD and WORLD["size"],
        seed=WORLD and WORLD["seed"],
        diversity=WORLD and WORLD["diversity"],
        counts=world_counts,
        camera=bank_cameras,
    shell:
        r"""
        python -m pipeline.toyworld.bank \
            --world \
            --counts {params.counts:q} \
            --size {params.size:q} \
            --seed {params.seed:q} \
            --diversity {params.diversity:q} \
            --camera {params.camera:q} \
            --out {output:q} \
            >{log:q} 2>&1
        """


rule bank_checksums:
    """One file that stands for the whole bank, in the place of which runs depend on it."""
    input:
        bank_files,
    output:
        f"results/{PRESET}/bank/checksums.json",
    log:
        f"results/{PRESET}/logs/bank_checksums.log",
    benchmark:
        f"results/{PRESET}/logs/bank_checksums.benchmark.tsv"
    shell:
        r"""
        python -m pipeline.checksums \
            --files {input:q} \
            --out {output:q} \
            >{log:q} 2>&1
        """


rule truth:
    """The true objects, seen as the results are seen."""
    output:
        expand(f"results/{PRESET}/truth/{{shape}}.safetensors", shape=shapes()),
    log:
        f"results/{PRESET}/logs/truth.log",
    benchmark:
        f"results/{PRESET}/logs/truth.benchmark.tsv"
    params:
        shapes=shapes(),
        size=WORLD and WORLD["truth_size"],
        seed=WORLD and WORLD["seed"],
        diversity=WORLD and WORLD["diversity"],
        views=truth_views,
        folder=subpath(output[0], parent=True),
    shell:
        r"""
        python -m pipeline.toyworld.truth \
            --shapes {params.shapes:q} \
            --size {params.size:q} \
            --seed {params.seed:q} \
            --diversity {params.diversity:q} \
            {params.views:q} \
            --out {params.folder:q} \
            >{log:q} 2>&1
        """
