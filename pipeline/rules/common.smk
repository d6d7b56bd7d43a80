"""The preset by name, and every helper that the rules share.

A rule's params hold what decides its result, and nothing else of the preset: changing one column's
setting plans that column's runs only; changing a comment plans nothing.
"""

import functools
import json
import os
import re
import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError

sys.path.insert(0, str(workflow.basedir))

from metrics import candidates  # noqa: E402
from pipeline import config as presets  # noqa: E402
from pipeline import plan, recipes, texts  # noqa: E402
from pipeline.artifacts import ArtifactError  # noqa: E402
from pipeline.doctor import missing_for  # noqa: E402
from pipeline.external_files import made_from, read_source  # noqa: E402
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


def read_external(given, spec):
    """TASK:COLUMN of every column that --config external=COLUMN:FILE[,...] adds; puts it into spec."""
    added = []
    for name, _, path in (one.partition(":") for one in str(given).split(",") if given):
        if not path or name in recipes.columns(spec):
            raise ValueError(
                f"external={name}:{path}: give COLUMN:FILE, COLUMN not one of the preset's"
            )
        if not re.fullmatch(recipes.NAME, name):
            raise ValueError(
                f"external={name}:{path}: column {name!r} names a folder, so it must match {recipes.NAME}"
            )
        task = read_source(Path(path)).spec["task"]
        if task not in spec["tasks"]:
            raise ValueError(f"{path}: task {task}, which preset {PRESET} has not")
        spec["tasks"][task].setdefault("external", {})[name] = path
        added.append(f"{task}:{name}")
    return added


def ranked_texts(task):
    """Every caption that retrieval ranks, as metrics.embed will be asked to embed it."""
    spec = SPEC["tasks"][task]
    extra = [spec["strict_extra"]] if spec["strict_extra"] else []
    strict = candidates.strict(
        spec["candidates"], view_words=spec["strict_views"], extra=extra
    )
    return [*candidates.plain(spec["candidates"]), *strict]


try:
    PRESET = presets.with_guidance(PRESET, GUIDANCE)
    SPEC = presets.load_preset(PRESET)
    COLUMNS = list(recipes.columns(SPEC))
    TASKS = recipes.tasks(SPEC)
    SHOWN = recipes.shown(SPEC)  # what tables and pages speak of
    LEARNED = texts.learned_priors(PRESET, SPEC)
    plan.check_candidates(SPEC)
    EXTERNAL = read_external(config.get("external"), SPEC)
    for one in TASKS:
        check_captions(ranked_texts(one), clip=SPEC["evaluation"]["clip"])
except (ValueError, ArtifactError) as error:
    raise WorkflowError(str(error))

STAGES = [stage for task in TASKS for stage in recipes.stages(SPEC, task)]
WORLD = SPEC["world"]
RUN = plan.RUN.replace("{preset}", PRESET)
GPUS = int(SPEC["device"] == "cuda")  # that a job which computes asks for
# Of several GPUs on this machine a job takes one that no other has; a cluster has chosen already.
OWN_DEVICE = "python -m pipeline.own_device cuda" if GPUS else ""
# Weights come from the cache, and the doctor says which are missing: nodes may have no network.
os.environ.setdefault("HF_HUB_OFFLINE", "1")


wildcard_constraints:
    column="|".join(map(re.escape, COLUMNS)),
    prompt_id="[a-z0-9-]{1,40}-[0-9a-f]{8}",
    seed="[0-9]+",
    stage="|".join(map(re.escape, STAGES)),
    task="|".join(TASKS),
    shown="|".join(map(re.escape, SHOWN)),
    shape="[a-z]+",
    sweep="|".join(map(re.escape, SPEC["sweeps"])) or "none",
    prior="|".join(map(re.escape, SPEC["priors"])),


def run_folders(shown, column=None):
    """The run folders of what tables and pages show, of one column or of all."""
    return plan.run_folders(PRESET, SPEC, shown, column=column)


def columns_of(wildcards):
    """A task's columns: the preset's, then those of other systems."""
    external = SPEC["tasks"][wildcards.task].get("external", {})
    return [*COLUMNS, *external]


def shown_runs(wildcards):
    return run_folders(wildcards.shown)


def shown_embeddings(wildcards):
    return [f"{folder}/embeddings.npz" for folder in run_folders(wildcards.shown)]


def all_runs():
    """Every run folder of the preset, of every stage."""
    return list(dict.fromkeys(folder for one in SHOWN for folder in run_folders(one)))


def shown_of(task):
    """What is shown of a task: where its columns end, then its earlier stages."""
    return [one for one in SHOWN if one.partition(".")[0] == task]


def task_views(wildcards):
    folders = [f for one in shown_of(wildcards.task) for f in run_folders(one)]
    return [f"{folder}/views/views.json" for folder in folders]


def job_of(wildcards):
    """The resolved job of one run folder."""
    return resolved(
        wildcards.column, wildcards.stage, wildcards.prompt_id, int(wildcards.seed)
    )


@functools.cache  # several params of several rules ask for the same one
def resolved(column, stage, prompt_id, seed):
    return presets.job(
        PRESET, column=column, stage=stage, prompt_id=prompt_id, seed=seed
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


def chain_of(wildcards):
    column = recipes.columns(SPEC)[wildcards.column]
    return recipes.chain(SPEC, wildcards.task, column)


def previous(wildcards):
    """The scene of the stage before this one in the chain; none for the first."""
    chain = chain_of(wildcards)
    if wildcards.stage not in chain[1:]:
        return []
    before = chain[chain.index(wildcards.stage) - 1]
    folder = RUN.format(**{**wildcards, "stage": before})
    return [f"{folder}/{name}" for name in ("scene.safetensors", "run.json")]


def mesh_of(wildcards):
    """The folder of the mesh that a texture begins on."""
    if wildcards.task != "texture" or wildcards.stage != chain_of(wildcards)[0]:
        return None
    return f"results/{PRESET}/meshes/{wildcards.prompt_id}"


def mesh_files(wildcards):
    folder = mesh_of(wildcards)
    return [f"{folder}/{name}" for name in ("mesh.safetensors", "mesh.json") if folder]


def init_option(wildcards):
    """What the run begins from: the stage before, a mesh, or nothing."""
    begin = [
        ("--init-from", str(Path(path).parent)) for path in previous(wildcards)[:1]
    ]
    if folder := mesh_of(wildcards):
        begin.append(("--mesh", folder))
    return [o for pair in begin for o in pair]


def shapes():
    from pipeline.toyworld.vocabulary import SHAPES

    return list(SHAPES)


def bank_cameras(wildcards=None):
    """The camera ranges of the first stage, as JSON: the bank shows what the optimisation asks for."""
    cameras = SPEC["stages"][STAGES[0]]["cameras"]
    return json.dumps(
        {k: cameras[k] for k in ("azimuth", "elevation", "distance", "fovy")}
    )


def sweep_columns(wildcards):
    """The columns that one sweep adds, in the order of its values."""
    return recipes.swept(SPEC, wildcards.sweep)


def sweep_views(wildcards):
    return [
        f"{f}/views/views.json"
        for c in sweep_columns(wildcards)
        for f in run_folders(TASKS[0], column=c)
    ]


def view_settings(wildcards):
    return json.dumps(job_of(wildcards).settings["views"])


def evaluated_cameras(wildcards):
    """Where the views of a task's last stage are seen from, as JSON."""
    last = SPEC["tasks"][wildcards.shown.partition(".")[0]]["chain"][-1]
    views = SPEC["stages"][last]["views"]
    return json.dumps({key: views[key] for key in presets.EVALUATED})


def truth_views(wildcards=None):
    """Where the truth is seen from, as every result of a preset with a world is."""
    views = SPEC["stages"][STAGES[0]]["views"]
    return [o for key in presets.EVALUATED for o in (f"--{key}", str(views[key]))]


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


def candidate_texts(wildcards):
    """The checksum of what retrieval ranks: an edited prompt set is another protocol."""
    return presets.digest(ranked_texts(wildcards.shown.partition(".")[0]))


def candidate_options(wildcards):
    """What retrieval ranks in a task, as options of the metrics' programs."""
    return caption_options([wildcards.shown.partition(".")[0]])


def caption_options(tasks):
    """The candidates of several tasks together, as options."""
    specs = [SPEC["tasks"][task] for task in tasks]
    found = {
        "--candidates": [spec["candidates"] for spec in specs],
        "--strict-views": [view for spec in specs for view in spec["strict_views"]],
        "--strict-extra": [s["strict_extra"] for s in specs if s["strict_extra"]],
    }
    return [
        part
        for option, values in found.items()
        if values
        for part in (option, *dict.fromkeys(values))
    ]


def all_caption_options():
    """Every caption that some reading ranks, as options of metrics.embed."""
    evaluation = SPEC["evaluation"]
    options = caption_options(TASKS)
    for option in ("pools", "prefixes"):
        if evaluation[option]:
            options += [f"--{option}", *evaluation[option]]
    return options


def all_caption_texts():
    evaluation = SPEC["evaluation"]
    pools = {name: list(candidates.plain(name)) for name in evaluation["pools"]}
    ranked = [ranked_texts(task) for task in TASKS]
    return presets.digest([ranked, pools, evaluation["prefixes"]])


def backgrounds():
    """The background of the scores, then those that their sensitivity is reported on."""
    own = SPEC["evaluation"]["background"]
    return [own, *(b for b in SPEC["evaluation"]["other_backgrounds"] if b != own)]


def other_background_options():
    others = backgrounds()[1:]
    return ["--other-backgrounds", *others] if others else []


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
