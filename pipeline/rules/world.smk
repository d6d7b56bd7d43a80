"""The procedural toy world as files: the mixture's image bank, the true objects' renders.

in:  nothing but the preset's world
out: results/<preset>/bank/, results/<preset>/truth/
"""


def dense_shapes():
    """The shapes that some prompt names."""
    asked = [prompt for task in TASKS for prompt in recipes.prompts(SPEC, task)]
    named = {word for prompt in asked for word in prompt.text.split()}
    return [shape for shape in shapes() if shape in named]


DENSE = dense_shapes()
SPARSE = [shape for shape in shapes() if shape not in DENSE]


def world_counts(wildcards=None):
    """How many renders each file of the bank holds, as JSON; more of a shape that is prompted."""
    counts = {s: WORLD["count" if s in DENSE else "count_others"] for s in shapes()}
    return json.dumps(counts | {"degraded": WORLD["count_degraded"]})


def shape_count(wildcards):
    counts = json.loads(world_counts())
    return json.dumps({wildcards.shape: counts[wildcards.shape]})


rule bank_shape:
    """Renders of one shape that is prompted, composable with every colour."""
    output:
        f"results/{PRESET}/bank/{{shape}}.safetensors",
    log:
        f"results/{PRESET}/logs/bank_shape.{{shape}}.log",
    benchmark:
        f"results/{PRESET}/logs/bank_shape.{{shape}}.benchmark.tsv"
    wildcard_constraints:
        shape="|".join(DENSE) or "none",
    params:
        size=WORLD and WORLD["size"],
        seed=WORLD and WORLD["seed"],
        diversity=WORLD and WORLD["diversity"],
        counts=shape_count,
        camera=bank_cameras,
        folder=subpath(output[0], parent=True),
    shell:
        r"""
        python -m pipeline.toyworld.bank {wildcards.shape:q} \
            --counts {params.counts:q} \
            --size {params.size:q} \
            --seed {params.seed:q} \
            --diversity {params.diversity:q} \
            --camera {params.camera:q} \
            --out {params.folder:q} \
            >{log:q} 2>&1
        """


rule bank_rest:
    """The vocabulary, the few renders of each other shape, and every object with each of the faults that negative prompts name."""
    output:
        f"results/{PRESET}/bank/world.json",
        f"results/{PRESET}/bank/degraded.safetensors",
        expand(f"results/{PRESET}/bank/{{shape}}.safetensors", shape=SPARSE),
    log:
        f"results/{PRESET}/logs/bank_rest.log",
    benchmark:
        f"results/{PRESET}/logs/bank_rest.benchmark.tsv"
    params:
        parts=["world", "degraded", *SPARSE],
        size=WORLD and WORLD["size"],
        seed=WORLD and WORLD["seed"],
        diversity=WORLD and WORLD["diversity"],
        counts=world_counts,
        camera=bank_cameras,
        folder=subpath(output[0], parent=True),
    shell:
        r"""
        python -m pipeline.toyworld.bank {params.parts:q} \
            --counts {params.counts:q} \
            --size {params.size:q} \
            --seed {params.seed:q} \
            --diversity {params.diversity:q} \
            --camera {params.camera:q} \
            --out {params.folder:q} \
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
    """The true objects, seen as the results are seen; the vocabulary lies beside them as well."""
    output:
        expand(f"results/{PRESET}/truth/{{shape}}.safetensors", shape=shapes()),
        f"results/{PRESET}/truth/world.json",
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
        bank_size=WORLD and WORLD["size"],
        counts=world_counts,
        camera=bank_cameras,
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
        python -m pipeline.toyworld.bank world \
            --counts {params.counts:q} \
            --size {params.bank_size:q} \
            --seed {params.seed:q} \
            --diversity {params.diversity:q} \
            --camera {params.camera:q} \
            --out {params.folder:q} \
            >>{log:q} 2>&1
        """
