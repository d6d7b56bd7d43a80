"""Freezes a study: study.json for everyone, key.json for the analyst, a page for participants.

    OUT/study.json            prompts, forms, questions, rules; pictures and trials by opaque ids
    OUT/key.json              what the ids mean: keep it from whoever answers, and from the web
    OUT/participants/         study.html and its pictures: hand this folder out, and nothing else

study.json names no column. It holds the sha256 of every picture, of the key and of itself: neither
can be changed once there are answers. The opaque ids follow from the seed, which stands in the key
alone. A frozen study is never overwritten by another.
"""

import base64
import hashlib
import hmac
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.artifacts import (
    SCHEMA_VERSION,
    digest,
    read_json,
    write_bytes,
    write_json,
    write_text,
)
from reports import pages
from reports.records import ReportError, Run
from reports.study import pictures, texts
from reports.study.design import CHECK, REPEAT, TRAINING, Picture, Plan, Trial, study_forms

TRAINING_NOTE = (
    "One of these pictures is in pieces; anyone would choose the whole one. A few comparisons like "
    "this are mixed in, so that we know that people looked."
)


@dataclass(frozen=True)
class Look:
    """How a run is shown: pixels a side of one view, grey behind it in [0, 1]."""

    size: int
    background: float


@dataclass(frozen=True)
class Study:
    """A frozen study: what everyone may read, the key, and the pictures' PNG bytes by id."""

    public: Mapping[str, Any]
    key: Mapping[str, Any]
    images: Mapping[str, bytes]


def grid(runs: Sequence[Run], columns: Sequence[str]) -> list[list[Run]]:
    """Runs as prompts x columns, prompts by their id. Raises ReportError for a hole or a second."""
    by_place: dict[tuple[str, str], Run] = {}
    for run in runs:
        place = (run.key[1], run.key[0])
        if place in by_place:
            raise ReportError(
                f"{run.folder}: a second seed of this run; choose one with --run-seed"
            )
        by_place[place] = run
    prompts = sorted({prompt for prompt, _ in by_place})
    holes = [f"{c} of {p}" for p in prompts for c in columns if (p, c) not in by_place]
    if holes:
        more = f" and {len(holes) - 3} more" if len(holes) > 3 else ""
        raise ReportError(f"no run of {', '.join(holes[:3])}{more}: every option must exist")
    return [[by_place[prompt, column] for column in columns] for prompt in prompts]


def opaque(seed: int, *what: object, length: int) -> str:
    """A name from which `what` cannot be told without the seed: the first digits of an HMAC."""
    message = "\0".join(map(str, what)).encode("utf-8")
    secret = hashlib.sha256(f"user study {seed}".encode()).digest()
    return hmac.new(secret, message, hashlib.sha256).hexdigest()[:length]


def draw(
    shown: Sequence[Picture], runs: Sequence[Sequence[Run]], look: Look, seed: int
) -> dict[Picture, bytes]:
    """Every picture once, as PNG bytes."""
    whole: dict[tuple[int, int], pictures.Image] = {}
    found = {}
    for picture in shown:
        place = (picture.prompt, picture.column)
        if place not in whole:
            run = runs[picture.prompt][picture.column]
            whole[place] = pictures.square(run, size=look.size, background=look.background)
        image = whole[place]
        if picture.scramble:
            rng = np.random.default_rng([seed, *asdict(picture).values()])
            image = pictures.scrambled(image, rng)
        found[picture] = pictures.png(image)
    return found


def freeze(
    runs: Sequence[Sequence[Run]],
    *,
    reading: str,
    plan: Plan,
    look: Look,
    seed: int,
    title: str,
    minimum_ms: int,
    exclusions: Mapping[str, float],
) -> Study:
    """The study of `runs` (prompts x columns). Same arguments, same bytes."""
    usable = [(p, c) for p, row in enumerate(runs) for c, run in enumerate(row) if not run.failed]
    forms = study_forms(plan, usable, np.random.default_rng(seed))
    shown = list(dict.fromkeys(picture for form in forms for t in form for picture in t.pictures))
    drawn = draw(shown, runs, look, seed)
    names = {picture: opaque(seed, *asdict(picture).values(), length=12) for picture in shown}
    images = {names[picture]: data for picture, data in drawn.items()}
    if len(images) != len(shown):
        raise ReportError(f"--seed {seed}: two pictures got one id; take another seed")
    key = key_content(runs, forms, names, seed=seed)
    key_sha = digest(key)
    questions = texts.QUESTIONS[reading]
    first = runs[0][0].record
    public = {
        "schema_version": SCHEMA_VERSION,
        "kind": "study",
        "study_id": f"{first.get('task', 'study')}-{first['preset']}-{key_sha[:8]}",
        "title": title,
        "reading": reading,
        "instructions": texts.instructions(reading, plan.options),
        "consent": texts.consent(texts.minutes(len(questions), len(forms[0]))),
        "training_note": TRAINING_NOTE,
        "questions": questions,
        "allow_same": reading == texts.PAIRS,
        "minimum_ms": minimum_ms,
        "exclusions": dict(exclusions),
        "rules": texts.rules(exclusions),
        "design": asdict(plan),
        "look": asdict(look),
        "prompts": [row[0].record["prompt"] for row in runs],
        "pictures": {name: hashlib.sha256(images[name]).hexdigest() for name in sorted(images)},
        "forms": [
            [public_trial(t, names, trial_id(seed, f, i)) for i, t in enumerate(form)]
            for f, form in enumerate(forms)
        ],
        "key_sha256": key_sha,
    }
    return Study(public | {"study_sha256": digest(public)}, key, images)


def trial_id(seed: int, form: int, place: int) -> str:
    """The opaque name of a trial."""
    return opaque(seed, "trial", form, place, length=8)


def public_trial(trial: Trial, names: Mapping[Picture, str], own: str) -> dict[str, Any]:
    """What the page knows of a trial: not whether it is a check or a repeat."""
    found: dict[str, Any] = {
        "id": own,
        "prompt": trial.pictures[0].prompt,
        "shown": [names[picture] for picture in trial.pictures],
    }
    if trial.kind == TRAINING:
        expected = trial.expected
        found["training"] = "" if expected is None else names[trial.pictures[expected]]
    return found


def key_content(
    runs: Sequence[Sequence[Run]],
    forms: Sequence[Sequence[Trial]],
    names: Mapping[Picture, str],
    *,
    seed: int,
) -> dict[str, Any]:
    """What the ids mean: column and run of every picture; kind, expectation, origin of trials."""
    described = {}
    for picture, name in sorted(names.items(), key=lambda item: item[1]):
        run = runs[picture.prompt][picture.column]
        record = {n: run.record[n] for n in ("column", "stage", "prompt_id", "seed", "status")}
        described[name] = {**record, "scrambled": picture.scramble > 0}
    trials = []
    for f, form in enumerate(forms):
        places = {t.label: i for i, t in enumerate(form) if t.kind not in (REPEAT, CHECK, TRAINING)}
        own = []
        for i, t in enumerate(form):
            entry: dict[str, Any] = {"id": trial_id(seed, f, i), "kind": t.kind}
            if t.expected is not None:
                entry["expected"] = names[t.pictures[t.expected]]
            if t.kind == REPEAT:
                entry["repeats"] = trial_id(seed, f, places[t.label])
            own.append(entry)
        trials.append(own)
    return {
        "schema_version": SCHEMA_VERSION,
        "kind": "study key",
        "seed": seed,
        "preset": runs[0][0].record["preset"],
        "columns": [run.record["column"] for run in runs[0]],
        "pictures": described,
        "forms": trials,
    }


def page(study: Study, *, inline: bool) -> str:
    """study.html; with `inline` the pictures stand in it, else in pictures/ beside it."""
    script = pages.script("study.js")
    sources = {}
    for name, data in study.images.items():
        encoded = base64.b64encode(data).decode() if inline else ""
        sources[name] = f"data:image/png;base64,{encoded}" if inline else f"pictures/{name}.png"
    return pages.render(
        "study.html.j2",
        study=study.public,
        sources=sources,
        script=script,
        script_digest=pages.digest(script),
        style=pages.style("study.css"),
    )


def write(study: Study, out: Path, *, inline: bool) -> None:
    """Everything below `out`. Raises ReportError when another study lies there already."""
    frozen = out / "study.json"
    if frozen.exists() and read_json(frozen).get("study_sha256") != study.public["study_sha256"]:
        raise ReportError(
            f"{frozen}: another study is frozen here, perhaps with answers; choose another --out"
        )
    handed = out / "participants"
    if not inline:
        for name, data in study.images.items():
            write_bytes(handed / "pictures" / f"{name}.png", data)
    write_text(handed / "study.html", page(study, inline=inline))
    write_json(out / "key.json", study.key)
    write_json(frozen, study.public)
