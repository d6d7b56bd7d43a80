"""The preset by name, and every helper that the rules share.

A rule's params hold what decides its result, and nothing else of the preset: changing one column's
setting plans that column's runs only; changing a comment plans nothing.
"""

import json
import os
import re
import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError

sys.path.insert(0, str(workflow.basedir))

from metrics import candidates, fig2  # noqa: E402
from pipeline import config as presets  # noqa: E402
from pipeline import plan, texts  # noqa: E402
from pipeline.doctor import missing_for  # noqa: E402
from pipeline.locks import held_workdir  # noqa: E402
from pipeline.tokens import check_captions  # noqa: E402

ROOT = Path(str(workflow.basedir))
# `python` is the interpreter that runs this workflow, and finds the programs from any working
# directory (snakemake --directory).
os.environ.update(
    PATH=os.pathsep.join(
        [str(Path(sys.executable).parent), os.environ.get("PATH", "")]
    ),
    PYTHONPATH=os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])),
)
# Kept open until this process ends, however it ends; jobs on other machines do not count.
ALIVE = held_workdir(Path(".snakemake")) if workflow.is_main_process else None

PRESET = str(config.get("preset", "paper"))
GUIDANCE = config.get("guidance")  # one of the preset's priors, for every stage


def ranked_texts():
    """Every caption that retrieval ranks, as metrics.embed will be asked to embed it."""
    spec = SPEC["prompts"]
    extra = [spec["strict_extra"]] if spec["strict_extra"] else []
    strict = candidates.strict(
        spec["candidates"], view_words=spec["strict_views"], extra=extra
    )
    return [*candidates.plain(spec["candidates"]), *strict]


try:
    PRESET = presets.with_guidance(PRESET, GUIDANCE)
    SPEC = presets.load_preset(PRESET)
    COLUMNS = list(presets.columns(SPEC))
    LEARNED = texts.learned_priors(PRESET, SPEC)
    TASK = presets.task(SPEC)
    PROMPTS = presets.prompts(SPEC, TASK)
    plan.check_candidates(SPEC)
    check_captions(ranked_texts(), clip=SPEC["evaluation"]["clip"])
except ValueError as error:
    raise WorkflowError(str(error))

CHAIN = SPEC["chain"]
FINAL = CHAIN[-1]
WORLD = SPEC["world"]
RUN = plan.RUN.replace("{preset}", PRESET).replace("{task}", TASK)


wildcard_constraints:
    column="|".join(map(re.escape, COLUMNS)),
    prompt_id="[a-z0-9-]{1,40}-[0-9a-f]{8}",
    seed="[0-9]+",
    stage="|".join(map(re.escape, CHAIN)),
    shape="[a-z]+",
    sweep="|".join(map(re.escape, SPEC["sweeps"])) or "none",
    prior="|".join(map(re.escape, SPEC["priors"])),


def run_folders(column=None):
    """The run folders of the last stage, of one column or of all."""
    return plan.run_folders(PRESET, SPEC, column=column)


def job_of(wildcards):
    """The resolved job of one run folder."""
    return presets.job(
        PRESET,
        column=wildcards.column,
        stage=wildcards.stage,
        prompt_id=wildcards.prompt_id,
        seed=int(wildcards.seed),
    )


def job_key(wildcards):
    return job_of(wildcards).key()


def prior_of(wildcards):
    return job_of(wildcards).prior


def weights_of(spec):
    """The files of weights that a prior is read from; none for the hub's."""
    folders = [
        one["path"] for one in (spec, *spec.get("controlnets", [])) if "path" in one
    ]
    files = [f for folder in folders for f in (ROOT / folder).rglob("*.safetensors")]
    return sorted(
        str(f.relative_to(Path.cwd()) if f.is_relative_to(Path.cwd()) else f)
        for f in files
    )


def prior_files(wildcards):
    """What a run reads besides the scene before it: the bank, or a learned prior's weights, texts."""
    prior = prior_of(wildcards)
    if prior["kind"] == "mixture":
        return bank_listing()
    return [f"results/{PRESET}/texts/{prior['name']}.json", *weights_of(prior)]


def prior_options(wildcards):
    if prior_of(wildcards)["kind"] == "mixture":
        return bank_option(wildcards)
    return ["--texts", f"results/{PRESET}/texts/cache"]


def text_weights(wildcards):
    return weights_of(SPEC["priors"][wildcards.prior])


def texts_listed(wildcards):
    """The checksum of every text that the runs put to a learned prior."""
    return presets.digest(texts.texts(PRESET, SPEC, wildcards.prior))


def text_prior(wildcards):
    """A learned prior's settings as JSON."""
    return json.dumps(presets.located(SPEC["priors"][wildcards.prior]))


def bank_files(wildcards=None):
    """The mixture's image bank, where the preset has a procedural world."""
    if WORLD is None:
        return []
    names = ["world.json", "degraded.safetensors"]
    names += [f"{shape}.safetensors" for shape in shapes()]
    return [f"results/{PRESET}/bank/{name}" for name in names]


def bank_listing(wildcards=None):
    """One file that stands for the bank: what every run reads whole."""
    return [] if WORLD is None else [f"results/{PRESET}/bank/checksums.json"]


def bank_option(wildcards):
    return [] if WORLD is None else ["--bank", f"results/{PRESET}/bank"]


def previous(wildcards):
    """The scene of the stage before this one in the chain; none for the first."""
    index = CHAIN.index(wildcards.stage)
    if index == 0:
        return []
    folder = RUN.format(**{**wildcards, "stage": CHAIN[index - 1]})
    return [f"{folder}/scene.safetensors"]


def mesh_of(wildcards):
    """The folder of the mesh that a texture begins on: the toy shape that the prompt names."""
    if TASK != "texture" or wildcards.stage != CHAIN[0]:
        return None
    words = job_of(wildcards).prompt.split()
    named = [shape for shape in shapes() if shape in words]
    if WORLD is None or len(named) != 1:
        raise WorkflowError(
            f"{' '.join(words)!r} names no toy shape, and this preset has no other meshes"
        )
    return f"results/{PRESET}/meshes/{named[0]}"


def mesh_files(wildcards):
    folder = mesh_of(wildcards)
    return [f"{folder}/{name}" for name in ("mesh.safetensors", "mesh.json") if folder]


def init_option(wildcards):
    """What the run begins from: the stage before, a mesh, or nothing."""
    begin = [("--init-from", str(Path(path).parent)) for path in previous(wildcards)]
    if folder := mesh_of(wildcards):
        begin.append(("--mesh", folder))
    return [o for pair in begin for o in pair]


def shapes():
    from pipeline.toyworld.vocabulary import SHAPES

    return list(SHAPES)


def bank_cameras(wildcards=None):
    """The camera ranges of the first stage, as JSON: the bank shows what the optimisation asks for."""
    cameras = SPEC["stages"][CHAIN[0]]["cameras"]
    return json.dumps(
        {k: cameras[k] for k in ("azimuth", "elevation", "distance", "fovy")}
    )


def world_counts(wildcards=None):
    """How many renders each file of the bank holds, as JSON."""
    named = {word for prompt in PROMPTS for word in prompt.text.split()}
    counts = {s: WORLD["count" if s in named else "count_others"] for s in shapes()}
    return json.dumps(counts | {"degraded": WORLD["count_degraded"]})


def shape_count(wildcards):
    """More renders of a shape that some prompt names: its bank is dense."""
    return json.loads(world_counts())[wildcards.shape]


def sweep_columns(wildcards):
    """The columns that one sweep adds, in the order of its values."""
    return presets.swept(SPEC, wildcards.sweep)


def sweep_views(wildcards):
    return [
        f"{f}/views/views.json"
        for c in sweep_columns(wildcards)
        for f in run_folders(column=c)
    ]


def view_settings(wildcards):
    return json.dumps(job_of(wildcards).settings["views"])


def evaluated_cameras():
    views = SPEC["stages"][FINAL]["views"]
    return json.dumps({k: views[k] for k in ("elevation", "distance", "fovy")})


def final_views(wildcards=None):
    views = SPEC["stages"][FINAL]["views"]
    return [
        o for k in ("elevation", "distance", "fovy") for o in (f"--{k}", str(views[k]))
    ]


def truth_files(wildcards=None):
    """The true objects' renders, where there are any."""
    if WORLD is None:
        return []
    names = ["world.json", *(f"{shape}.safetensors" for shape in shapes())]
    return [f"results/{PRESET}/truth/{name}" for name in names]


def truth_option():
    return [] if WORLD is None else ["--truth", f"results/{PRESET}/truth"]


def clip_model():
    """The encoder's name; a folder in the repository as seen from the working directory."""
    clip = SPEC["evaluation"]["clip"]
    if not clip.startswith("local-dir:"):
        return clip
    folder = ROOT / clip.removeprefix("local-dir:")
    here = (
        folder.relative_to(Path.cwd()) if folder.is_relative_to(Path.cwd()) else folder
    )
    return f"local-dir:{here}"


def clip_files(wildcards=None):
    """The encoder's file in the repository; none for a hub model.

    None where it is missing either: then the workflow stops at its start, which names the remedy.
    """
    clip = clip_model()
    weights = Path(clip.removeprefix("local-dir:")) / "open_clip_model.safetensors"
    return [str(weights)] if clip.startswith("local-dir:") and weights.is_file() else []


def candidate_texts():
    """The checksum of what retrieval ranks: an edited prompt set is another protocol."""
    return presets.digest(ranked_texts())


def candidate_options():
    """What retrieval ranks, as options of the metrics' programs."""
    spec = SPEC["prompts"]
    options = ["--candidates", spec["candidates"]]
    if spec["strict_views"]:
        options += ["--strict-views", *spec["strict_views"]]
    if spec["strict_extra"]:
        options += ["--strict-extra", spec["strict_extra"]]
    return options


def backgrounds():
    """The background of the scores, then those that their sensitivity is reported on."""
    own = SPEC["evaluation"]["background"]
    return [own, *(b for b in SPEC["evaluation"]["other_backgrounds"] if b != own)]


def other_background_options():
    others = backgrounds()[1:]
    return ["--other-backgrounds", *others] if others else []


def fig2_folders(wildcards):
    """The runs of Figure 2; stops the workflow when the preset lacks some."""
    found = {}
    for column, described in presets.columns(SPEC).items():
        role = fig2.role(described["method"], described["settings"])
        if role is not None:
            place = {"stage": FINAL, "prompt_id": PROMPTS[0].prompt_id, "seed": 0}
            prior = presets.job(PRESET, column=column, **place).prior["name"]
            found[column] = (prior, role)
    try:
        fig2.check(found.values(), f"preset {PRESET}")
    except fig2.Fig2Error as error:
        raise WorkflowError(str(error))
    return [folder for column in found for folder in run_folders(column=column)]


# Before the first job, and not in a dry run. A remote executor's jobs find their GPU elsewhere.
onstart:
    problems = missing_for(SPEC, jobs_run_here=workflow.local_exec)
    if problems:
        for problem in problems:
            print(f"missing: {problem}", file=sys.stderr)
        if SPEC["device"] != "cpu":
            print("The miniature runs on any machine: make mini", file=sys.stderr)
        raise WorkflowError(
            f"preset={PRESET} cannot run here: {len(problems)} requirement(s) missing"
        )
