"""The meshes of the texture task as folders that a run can begin on.

in:  the toy world's shapes
out: results/<preset>/meshes/<prompt_id>/
"""


def mesh_source(wildcards):
    """The toy shape that the prompt names, as a file."""
    asked = recipes.prompts(SPEC, "texture")
    text = next(p.text for p in asked if p.prompt_id == wildcards.prompt_id)
    named = [shape for shape in shapes() if shape in text.split()]
    if WORLD is None or len(named) != 1:
        raise WorkflowError(f"{text!r} names no toy shape, and no mesh is given")
    return f"results/{PRESET}/meshes/{named[0]}.glb"


rule toy_mesh:
    """The shape of a toy object as a file, where the renderer has it."""
    output:
        f"results/{PRESET}/meshes/{{shape}}.glb",
    log:
        f"results/{PRESET}/logs/toy_mesh_{{shape}}.log",
    benchmark:
        f"results/{PRESET}/logs/toy_mesh_{{shape}}.benchmark.tsv"
    params:
        seed=WORLD and WORLD["seed"],
        diversity=WORLD and WORLD["diversity"],
    shell:
        r"""
        python -m pipeline.toyworld.meshes \
            --shape {wildcards.shape:q} \
            --seed {params.seed:q} \
            --diversity {params.diversity:q} \
            --out {output:q} \
            >{log:q} 2>&1
        """


rule mesh:
    """A toy object's file as the texture task takes any mesh, left where it lies."""
    input:
        mesh_source,
    output:
        mesh=f"results/{PRESET}/meshes/{{prompt_id}}/mesh.safetensors",
        record=f"results/{PRESET}/meshes/{{prompt_id}}/mesh.json",
    log:
        f"results/{PRESET}/logs/mesh_{{prompt_id}}.log",
    benchmark:
        f"results/{PRESET}/logs/mesh_{{prompt_id}}.benchmark.tsv"
    params:
        folder=subpath(output.mesh, parent=True),
    shell:
        r"""
        python -m pipeline.meshes.load {input:q} \
            --place keep \
            --out {params.folder:q} \
            >{log:q} 2>&1
        """
