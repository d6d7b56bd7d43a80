"""Model cards of the learned priors, written from their own files: no number is typed by hand."""

from pathlib import Path
from typing import Any

from pipeline.artifacts import read_json
from pipeline.toyworld.vocabulary import COLOURS, DEGRADATIONS, SHAPES, VIEWS

TITLES = {
    "toy_pixel": "A text-to-image diffusion model over 32 x 32 pixels in DeepFloyd-IF's format.",
    "toy_autoencoder": "The autoencoder of toy_latent: 64 x 64 pixels to 16 x 16 x 4 latents.",
    "toy_latent": "A text-to-image latent diffusion model, 64 x 64, in Stable Diffusion's format.",
    "toy_controlnet_depth": "A ControlNet for toy_latent that is shown nearness.",
    "toy_controlnet_canny": "A ControlNet for toy_latent that is shown the edges of the normals.",
}
COMMANDS = {
    "toy_pixel": "train_pixel --out DIR",
    "toy_autoencoder": "train_autoencoder --out DIR",
    "toy_latent": "train_latent --autoencoder DIR --out DIR",
    "toy_controlnet_depth": "train_controlnet --image depth --model DIR --out DIR",
    "toy_controlnet_canny": "train_controlnet --image canny --model DIR --out DIR",
}
LABELS = {
    "top1_among_81": "own caption first among the 81 plain captions",
    "top5_among_81": "own caption among the first five",
    "toy_strict_directional": "shapes with a front: object and view first among 81 x 3 + 9 blobs",
}
SHEETS = {
    "toy_pixel": "rows: front, side, back; then the five faults, all of them, no caption twice",
    "toy_latent": "rows: front, side, back; then the five faults, all of them, no caption twice",
    "toy_autoencoder": "held-out renders and, below each row, what came back",
    "toy_controlnet_depth": "renders, what the network is shown, samples",
    "toy_controlnet_canny": "renders, what the network is shown, samples",
}
BARS = {
    "top1_among_81": 0.80,
    "top5_among_81": 0.95,
    "toy_strict_directional": 0.75,
    "psnr": 28.0,
    "iou": 0.85,
}


def report(name: str, table: dict[str, Any]) -> str:
    """The evaluation as a Markdown table with the bar that each number was set."""
    if "psnr" in table:
        lines = ["| held-out renders | PSNR in dB | bar |", "|---|---|---|"]
        lines.append(f"| {table['pictures']} clean | {table['psnr']:.1f} | {BARS['psnr']:.0f} |")
        return "\n".join([*lines, f"| as many with a fault | {table['psnr_degraded']:.1f} | |"])
    if "iou" in table:
        lines = [f"| silhouette IoU, {table['samples']} objects | mean | bar |", "|---|---|---|"]
        lines.append(f"| samples with their caption | {table['iou']:.3f} | {BARS['iou']:.2f} |")
        lines.append(f"| samples without caption | {table['iou_without_text']:.3f} | |")
        return "\n".join([*lines, f"| renders (ceiling) | {table['iou_of_renders']:.3f} | |"])
    lines = [f"| {name} | samples | renders (ceiling) | bar |", "|---|---|---|---|"]
    for key, label in LABELS.items():
        sampled, ceiling = table["samples_shares"][key], table["renders_shares"][key]
        lines.append(f"| {label} | {sampled:.3f} | {ceiling:.3f} | {BARS[key]:.2f} |")
    shapes = ", ".join(f"{s} {v:.2f}" for s, v in table["toy_strict_by_shape"].items())
    return "\n".join([*lines, "", f"The last row by shape: {shapes}."])


def card(name: str, folder: Path, table: dict[str, Any]) -> str:
    """README.md of the model's folder."""
    training = read_json(folder / "training.json")
    losses = training["losses"]
    told = losses[:: max(len(losses) // 8, 1)] + losses[-1:]
    curve = ", ".join(f"{step}: {value:.4f}" for step, value in told)
    settings = ", ".join(
        f"{key.replace('_', ' ')} {training[key]}"
        for key in ("seed", "steps", "batch", "pool", "learning_rate", "averaging")
    )
    return f"""# {name}

{TITLES[name]} Trained from nothing on the procedural toy world; it knows nothing else and is of no
use outside this project's miniature.

- Captions: "a red car", "a red car, front view", each fault ("{DEGRADATIONS[0]}", ...), all faults
  in a row, and the empty text. Words: {", ".join(SHAPES)}; {", ".join(COLOURS)};
  {", ".join(VIEWS)} view. Any other word is refused.
- Data: renders of objects at diversity 0 (two thirds) and 1 on grey backgrounds of 0.25 to 0.75,
  elevations -12 to 48 degrees and a few from overhead; one in ten with a fault.
- Training: `python -m pipeline.toyworld.{COMMANDS[name]}`; {training["parameters"]:,}
  parameters, {settings}, torch {training["torch"]}.
- Loss by step: {curve}.
- Weights: half precision, safetensors, sha256 `{table["weights_sha256"]}`.
  Licence: Apache-2.0, with this project. No third-party material was used.

## Evaluation

By `python -m pipeline.toyworld.prior_eval --models {name} --seed {table["seed"]}
--per-caption {table["per_caption"]} --weights <the folder above>`.

{report(name, table)}

![{SHEETS[name]}](samples.png)

{SHEETS[name][0].upper() + SHEETS[name][1:]}.
"""
