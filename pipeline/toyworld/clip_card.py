"""The model card of the toy CLIP, written from its own files so that no number is typed by hand."""

from pathlib import Path
from typing import Any

from pipeline.artifacts import read_json
from pipeline.toyworld.vocabulary import COLOURS, DEGRADATIONS, SHAPES, VIEWS

LABELS = {
    "top1_among_81": "own caption first among the 81 plain captions",
    "shape_right": "shape right",
    "colour_right": "colour right",
    "toy_strict_all": "object and view first among 81 x {front, side, back} + 9 blobs",
    "toy_strict_directional": "the same, shapes with a front only",
    "toy_strict_clear_views": "the same, views 15 degrees or more from a threshold",
    "strict_object_right": "object right among the strict candidates",
}


def report(table: dict[str, Any]) -> str:
    """The evaluation as two Markdown tables."""
    lines = [f"| {table['true_renders']} true renders | share |", "|---|---|"]
    lines += [f"| {LABELS[key]} | {value:.3f} |" for key, value in table["retrieval"].items()]
    plain, view = table["true_cosine_plain"], table["true_cosine_view"]
    lines += [
        f"| cosine with the plain caption: 5 %, median | {plain['p5']:.3f}, {plain['p50']:.3f} |",
        f"| cosine with the view caption: 5 %, median | {view['p5']:.3f}, {view['p50']:.3f} |",
        "",
        "| fakes | claim | number | below the true 5th percentile | mean cosine |",
        "|---|---|---|---|---|",
    ]
    lines += [
        f"| {kind} | {row['claims']} | {row['fakes']} | {row['caught']:.3f} "
        f"| {row['mean_cosine']:.3f} |"
        for kind, row in table["fakes"].items()
    ]
    caught = ", ".join(f"{group} {share:.3f}" for group, share in table["caught"].items())
    return "\n".join([*lines, "", f"By group, kinds weighted equally: {caught}."])


def card(folder: Path, table: dict[str, Any]) -> str:
    """README.md of the weights' folder."""
    training = read_json(folder / "training.json")
    settings = read_json(folder / "open_clip_config.json")["model_cfg"]
    vision, text = settings["vision_cfg"], settings["text_cfg"]
    return f"""# toy_clip

A CLIP pair for the toy world, in open_clip's format. It judges whether a 3D object made by score
distillation in the miniature shows what its caption says. It knows nothing else.

- Load: `open_clip.create_model_and_transforms("local-dir:<this folder>")`,
  `open_clip.get_tokenizer("local-dir:<this folder>")`.
- Words: {", ".join(SHAPES)}, blob; {", ".join(COLOURS)}; {", ".join(VIEWS)} view; a, an;
  {", ".join(DEGRADATIONS)}. Any other word becomes `[UNK]` (the tokenizer's `unk_token_id`): refuse
  captions that contain it.
- Captions it was trained on: "a red car", "a red car, front view", "a red blob", each fault.
- Image tower: {vision["layers"]} layers of width {vision["width"]}, {vision["image_size"]} pixels
  in patches of {vision["patch_size"]}. Text tower: {text["layers"]} layers of {text["width"]}.
  Embedding: {settings["embed_dim"]}.
- Training: {training["steps"]} steps of {training["batch"]} pictures, {training["pool"]} rendered
  objects a shape, seed {training["seed"]}, {training["seconds"]} s on one thread with torch
  {training["torch"]}:
  `python -m pipeline.toyworld.clip_train --out DIR --seed {training["seed"]} \\
  --steps {training["steps"]} --batch {training["batch"]} --pool {training["pool"]}`.
  Pictures: renders of objects at diversity 0 and 1 on grey and coloured backgrounds, blurred,
  thinned and shifted a little; hard negatives: heaps of solids in one or two colours, the five
  faults, objects with two fronts, wrong view words.
- Weights: sha256 `{table["weights_sha256"]}`, safetensors. Licence: Apache-2.0, with this
  project. The data are procedural; no third-party material was used.

## Evaluation

On renders, cameras and fakes of other seeds, by
`python -m pipeline.toyworld.clip_eval --model <this folder> --seed {table["seed"]}`.
A fake is scored by its cosine with the caption that it claims.

{report(table)}

## Limits

- It shares its world with the miniature's guidance: a high score there is no evidence about real
  images.
- A tree and a mushroom look alike from all around; their view words can be read from the light
  only.
- A Janus object is tested from behind, where it shows a front and claims a back; seen from
  elsewhere a single picture of it may be one of the object. Wrong view words are at least 30
  degrees off.
- Renders of strongly saturated colour count as faults. Ranks are trained to survive it, scores
  fall.
"""
