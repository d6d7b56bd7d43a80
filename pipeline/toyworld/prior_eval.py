"""Measure the learned priors beside real renders, and write their cards and sample sheets.

    python -m pipeline.toyworld.prior_eval --weights pipeline/toyworld/weights [--seed 1000]
        [--models toy_pixel toy_latent ...] [--per-caption 2]

Samples (DDIM, 20 steps, classifier-free guidance) are judged by the toy CLIP: is the own caption
among the first one or five of 81; for shapes with a front, asked for with a view word, are object
and view first among 81 x {front, side, back} + blobs (`toy_strict`). Renders of objects that no
training saw, at the prior's own size, are the ceiling. Autoencoder: PSNR on such renders.
ControlNets: intersection over union of a sample's silhouette with the conditioning object's. Each
model's folder receives evaluation.json, README.md and samples.png.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from pipeline.artifacts import exit_status, sha256, write_json, write_png, write_text
from pipeline.toyworld import clip_eval, prior_card, prior_nets, sampling
from pipeline.toyworld.prior_data import RANGES, Pool, batch, pool
from pipeline.toyworld.render import geometry, over
from pipeline.toyworld.train_controlnet import control_images
from pipeline.toyworld.vocabulary import COLOURS, DEGRADATIONS, DIRECTIONAL, SHAPES, caption
from pipeline.toyworld.world import covering_cameras, drawn, instances, main_colour, seeded

HORIZONTAL = ("front", "side", "back")
PLAIN = [caption(s, c) for s in SHAPES for c in COLOURS]
STRICT = [caption(s, c, v) for s in SHAPES for c in COLOURS for v in HORIZONTAL]
FRONTED = [caption(s, c, v) for s in DIRECTIONAL for c in COLOURS for v in HORIZONTAL]
BLOBS = [caption(None, c) for c in COLOURS]
# stronger guidance overshoots: these priors know their captions, and at omega 3 colours invert
OMEGA, STEPS = 1.0, 20
DIFFERS = 0.07  # from the background's grey, in any channel: part of the silhouette
WEIGHTS = "diffusion_pytorch_model.safetensors"
Images = Float[Tensor, "n 3 s s"]


def retrieval(loaded: Any, images: Images, asked: Sequence[str], among: Sequence[str]) -> Tensor:
    """The rank of each picture's own caption among the candidates, from 1 (ties count against)."""
    scores = clip_eval.embedded(loaded, images) @ clip_eval.captions_embedded(loaded, among).T
    own = scores[torch.arange(len(asked)), [list(among).index(text) for text in asked]]
    return (scores >= own[:, None]).sum(1)


def shares(loaded: Any, plain: Images, viewed: Images, times: int) -> dict[str, float]:
    """Retrieval of `plain` (PLAIN, repeated) and of `viewed` (FRONTED, repeated)."""
    rank = retrieval(loaded, plain, PLAIN * times, PLAIN)
    strict = retrieval(loaded, viewed, FRONTED * times, [*STRICT, *BLOBS])
    return {
        "top1_among_81": round(float((rank == 1).float().mean()), 4),
        "top5_among_81": round(float((rank <= 5).float().mean()), 4),
        "toy_strict_directional": round(float((strict == 1).float().mean()), 4),
    }


def real(captions: Sequence[str], size: int, *, seed: int) -> Images:
    """A render on grey of each caption, at cameras whose view word is the caption's."""
    images = []
    for k, text in enumerate(captions):
        words = text.replace(",", "").split()
        shape, colour, word = words[2], words[1], words[3] if len(words) > 3 else None
        generator = seeded("real", seed, k)
        objects = instances(shape, seed=seed, diversity=0.0)
        low, high = {"front": (-40, 40), "side": (50, 130), "back": (140, 220), None: (-180, 180)}[
            word
        ]
        ranges = type(RANGES)((low, high), (-10, 45), RANGES.distance, RANGES.fovy)
        cameras = covering_cameras(1, ranges, generator)
        layers, shade = drawn(objects, torch.zeros(1, dtype=torch.long), cameras, size)
        main = main_colour(colour, shade)[..., None, None]
        rgba = torch.cat([layers.base + layers.tint * main, layers.alpha], 1)
        images.append(over(rgba, torch.full((1, 3), 0.5)))
    return torch.cat(images)


def diffusion(model: Path, loaded: Any, *, seed: int, times: int) -> dict[str, Any]:
    """The quality of a pixel or latent prior's samples, its ceiling, and a sheet of samples."""
    found: dict[str, Any] = {"omega": OMEGA, "steps": STEPS, "samples": times * len(PLAIN)}

    def draw(captions: Sequence[str], word: str) -> Images:
        generator = seeded("prior samples", seed, word)
        return sampling.sample(model, captions, omega=OMEGA, steps=STEPS, generator=generator)

    plain, viewed = draw(PLAIN * times, "plain"), draw(FRONTED * times, "viewed")
    size = plain.shape[-1]
    truth = real(PLAIN, size, seed=seed), real(FRONTED, size, seed=seed)
    found["samples_shares"] = shares(loaded, plain, viewed, times)
    found["renders_shares"] = shares(loaded, *truth, 1)
    rank = retrieval(loaded, viewed, FRONTED * times, [*STRICT, *BLOBS]) == 1
    by_shape = rank.view(times, len(DIRECTIONAL), -1).float().mean((0, 2))
    found["toy_strict_by_shape"] = {
        shape: round(float(share), 3) for shape, share in zip(DIRECTIONAL, by_shape, strict=True)
    }
    faults = draw([*DEGRADATIONS, ", ".join(DEGRADATIONS), "", ""], "faults")
    diagonal = [k * 9 * 3 + c * 3 + v for v in range(3) for k, c in enumerate(range(7))]
    rows = [viewed[diagonal[7 * v : 7 * v + 7]] for v in range(3)]
    rest = plain[[7 * 9 + 7, 8 * 9 + 8, 7 * 9 + 3]]
    sheet(
        model / "samples.png",
        [*(torch.cat([r, e[None]]) for r, e in zip(rows, rest, strict=True)), faults],
    )
    return found


def sheet(path: Path, rows: Sequence[Images], zoom: int = 3) -> None:
    """The rows of pictures, enlarged without interpolation."""
    table = torch.stack(list(rows)).clamp(0, 1)
    joined = table.permute(0, 3, 1, 4, 2).flatten(0, 1).flatten(1, 2)
    large = joined.repeat_interleave(zoom, 0).repeat_interleave(zoom, 1)
    write_png(path, (large * 255 + 0.5).to(torch.uint8).numpy())


@torch.no_grad()
def autoencoder(folder: Path, *, seed: int, count: int = 270) -> dict[str, Any]:
    """PSNR of clean and of faulty held-out renders, mean over pictures, in dB."""
    vae = prior_nets.pretrained("vae", folder, "cpu")
    pictures = pool(30, seed=seed, size=64)
    found: dict[str, Any] = {"pictures": count}
    for name, degraded in (("psnr", 0.0), ("psnr_degraded", 1.0)):
        rgb = batch(pictures, count, seeded("psnr", seed, name), degraded=degraded).rgb
        both = [
            vae.decode(vae.encode(2 * lot - 1).latent_dist.mean, return_dict=False)[0] / 2 + 0.5
            for lot in rgb.split(32)
        ]
        back = torch.cat(both).clamp(0, 1)
        error = (back - rgb).square().mean((1, 2, 3))
        found[name] = round(float((-10 * error.log10()).mean()), 2)
        if degraded == 0.0:
            sheet(folder / "samples.png", [rgb[:8], back[:8], rgb[8:16], back[8:16]])
    return found


def silhouette(images: Images) -> Bool[Tensor, "n s s"]:
    """Where a picture differs from its border's median colour."""
    border = torch.cat([images[..., 0, :], images[..., -1, :], images[..., 0], images[..., -1]], -1)
    grey = border.median(-1).values[..., None, None]
    return (images - grey).abs().amax(1) > DIFFERS


def overlap(a: Bool[Tensor, "n s s"], b: Bool[Tensor, "n s s"]) -> Float[Tensor, " n"]:
    """Intersection over union."""
    return (a & b).sum((1, 2)) / (a | b).sum((1, 2)).clamp_min(1)


def control(folder: Path, model: Path, image: str, *, seed: int) -> dict[str, Any]:
    """IoU of samples with the objects whose control they were shown: with and without captions."""
    net = prior_nets.pretrained("controlnet", folder, "cpu")
    found: dict[str, Any] = {"omega": OMEGA, "steps": STEPS, "samples": len(PLAIN)}
    cameras = covering_cameras(len(PLAIN), RANGES, seeded("control", seed))
    planes, truth = [], []
    for k, (shape, colour) in enumerate((s, c) for s in SHAPES for c in COLOURS):
        objects = instances(shape, seed=seed, diversity=0.0)
        normal, depth, alpha = geometry(objects.parts, cameras[k], 64)
        planes.append(torch.cat([(0.5 * normal + 0.5) * alpha, depth], 1))
        layers, shade = drawn(objects, torch.zeros(1, dtype=torch.long), cameras[k], 64)
        main = main_colour(colour, shade)[..., None, None]
        rgba = torch.cat([layers.base + layers.tint * main, layers.alpha], 1)
        truth.append((over(rgba, torch.full((1, 3), 0.5)), layers.alpha[:, 0] > 0.5))
    renders, masks = (torch.cat(column) for column in zip(*truth, strict=True))
    solid = (torch.cat(planes) * 255 + 0.5).to(torch.uint8)
    empty = torch.zeros(len(solid), 0)
    held = Pool(solid, solid, empty, empty, empty, empty)
    shown = control_images(held, torch.arange(len(solid)), image)

    def residuals(x_t: Tensor, t: Tensor, states: Tensor) -> dict[str, object]:
        down, middle = net(x_t, t, states, torch.cat([shown, shown]), return_dict=False)
        return {
            "down_block_additional_residuals": down,
            "mid_block_additional_residual": middle,
        }

    for name, captions in (("iou", PLAIN), ("iou_without_text", [""] * len(PLAIN))):
        generator = seeded("controlled", seed, image, name)
        images = sampling.sample(
            model, captions, omega=OMEGA, steps=STEPS, generator=generator, residuals=residuals
        )
        found[name] = round(float(overlap(silhouette(images), masks).mean()), 4)
        if name == "iou":
            pick = torch.arange(8) * 10
            sheet(folder / "samples.png", [renders[pick], shown[pick], images[pick]])
    found["iou_of_renders"] = round(float(overlap(silhouette(renders), masks).mean()), 4)
    return found


def evaluate(weights: Path, name: str, *, seed: int, times: int) -> dict[str, Any]:
    """The evaluation of one model of the folder `weights`."""
    folder = weights / name
    if name == "toy_autoencoder":
        return autoencoder(weights / "toy_latent" / "vae", seed=seed)
    if name.startswith("toy_controlnet_"):
        return control(folder, weights / "toy_latent", name.rsplit("_", 1)[1], seed=seed)
    return diffusion(folder, clip_eval.load(weights / "toy_clip"), seed=seed, times=times)


MODELS = {  # name: (folder, file of weights)
    "toy_pixel": ("toy_pixel", f"unet/{WEIGHTS}"),
    "toy_autoencoder": ("toy_latent/vae", WEIGHTS),
    "toy_latent": ("toy_latent", f"unet/{WEIGHTS}"),
    "toy_controlnet_depth": ("toy_controlnet_depth", WEIGHTS),
    "toy_controlnet_canny": ("toy_controlnet_canny", WEIGHTS),
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Evaluates as the module's docstring says."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--weights", type=Path, required=True, help="the folder of all models")
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--seed", type=int, default=1000, help="of objects, cameras and noise")
    parser.add_argument("--per-caption", type=int, default=2, help="samples a caption")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    for name in options.models:
        folder = options.weights / MODELS[name][0]
        table = evaluate(options.weights, name, seed=options.seed, times=options.per_caption)
        table |= {"weights_sha256": sha256(folder / MODELS[name][1])}
        table |= {"seed": options.seed, "per_caption": options.per_caption}
        write_json(folder / "evaluation.json", table)
        write_text(folder / "README.md", prior_card.card(name, folder, table))
        print(prior_card.report(name, table), flush=True)


if __name__ == "__main__":
    sys.exit(exit_status(main, ValueError, OSError))
