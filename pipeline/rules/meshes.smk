"""The meshes of the texture task as folders that a run can begin on.

in:  a mesh file that the prompt set names, an object of Objaverse, or a shape of the toy world
out: results/<preset>/meshes/<prompt_id>/: the mesh, its atlas, its bare shape, what was changed
"""


localrules:
    objaverse,


def painted(wildcards):
    """The prompt whose mesh is asked for."""
    asked = recipes.prompts(SPEC, "texture")
    return next(p for p in asked if p.prompt_id == wildcards.prompt_id)


def toy_shape(prompt):
    """The toy shape that the prompt names; stops the workflow where it names none or several."""
    named = [shape for shape in shapes() if shape in prompt.text.split()]
    if WORLD is None or len(named) != 1:
        raise WorkflowError(
            f"{prompt.text!r} has no mesh: give its entry in the prompt set `mesh: {{file: …}}` or "
            "`uid: …` (in a preset with a toy world a text may name one shape instead)"
        )
    return named[0]


def mesh_source(wildcards):
    """The file that the mesh is read from, and where it is known, the record of where it is from."""
    prompt = painted(wildcards)
    if prompt.mesh is not None:
        return {"file": str(ROOT / prompt.mesh.file)}
    if prompt.uid is not None:
        object = f"results/{PRESET}/meshes/objaverse/{prompt.uid}"
        return {"file": f"{object}.glb", "origin": f"{object}.json"}
    return {"file": f"results/{PRESET}/meshes/toy/{toy_shape(prompt)}.glb"}


def mesh_options(wildcards):
    """How the file's axes lie and where it is put; a toy object stays where its renders show it."""
    prompt = painted(wildcards)
    if prompt.mesh is not None:
        mesh = prompt.mesh
        return [f"--up={mesh.up}", f"--front={mesh.front}", "--place", mesh.place]
    if prompt.uid is not None:
        origin = f"results/{PRESET}/meshes/objaverse/{prompt.uid}.json"
        return ["--place", "fit", "--origin", origin]
    return ["--place", "keep"]


def texels(wildcards):
    """About six texels a pixel of the pictures; 1024 make a file of about 1 MB."""
    stages = recipes.stages(SPEC, "texture")
    return min(6 * max(SPEC["stages"][one]["views"]["size"] for one in stages), 1024)


def atlas_files(wildcards):
    """The atlas that a texture's field is baked into; none for other scenes."""
    folder = f"results/{PRESET}/meshes/{wildcards.prompt_id}"
    return [f"{folder}/atlas.safetensors"] if wildcards.task == "texture" else []


def atlas_option(wildcards):
    return [
        o for path in atlas_files(wildcards) for o in ("--mesh", str(Path(path).parent))
    ]


rule toy_mesh:
    """The shape of a toy object as a file, where the renderer has it."""
    output:
        f"results/{PRESET}/meshes/toy/{{shape}}.glb",
    log:
        f"results/{PRESET}/logs/toy_mesh.{{shape}}.log",
    benchmark:
        f"results/{PRESET}/logs/toy_mesh.{{shape}}.benchmark.tsv"
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


rule objaverse:
    """An object of Objaverse and its licence, out of the cache or into it; needs a network once."""
    output:
        file=f"results/{PRESET}/meshes/objaverse/{{uid}}.glb",
        record=f"results/{PRESET}/meshes/objaverse/{{uid}}.json",
    log:
        f"results/{PRESET}/logs/objaverse.{{uid}}.log",
    benchmark:
        f"results/{PRESET}/logs/objaverse.{{uid}}.benchmark.tsv"
    wildcard_constraints:
        uid="[0-9a-f]{32}",
    shell:
        r"""
        python -m pipeline.meshes.objaverse {wildcards.uid:q} \
            --out {output.file:q} \
            >{log:q} 2>&1
        """


rule mesh:
    """A mesh file as the texture task takes it, unwrapped once; one that cannot be used says so."""
    input:
        unpack(mesh_source),
    output:
        mesh=f"results/{PRESET}/meshes/{{prompt_id}}/mesh.safetensors",
        atlas=f"results/{PRESET}/meshes/{{prompt_id}}/atlas.safetensors",
        record=f"results/{PRESET}/meshes/{{prompt_id}}/mesh.json",
    log:
        f"results/{PRESET}/logs/mesh.{{prompt_id}}.log",
    benchmark:
        f"results/{PRESET}/logs/mesh.{{prompt_id}}.benchmark.tsv"
    params:
        options=mesh_options,
        resolution=texels,
        folder=subpath(output.mesh, parent=True),
    shell:
        r"""
        python -m pipeline.meshes.prepare {input.file:q} \
            {params.options:q} \
            --resolution {params.resolution:q} \
            --out {params.folder:q} \
            >{log:q} 2>&1
        """
