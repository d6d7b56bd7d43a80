"""Time of the toy world's renderer and of one training step of its CLIP, on one thread.

    python -m benchmarks.toyworld [--size 32] [--images 480] [--diversity 0]

Prints milliseconds an image for every shape (goal: 3 at 32 pixels) and seconds a training step.
"""

import argparse
import time

import torch

from pipeline.cameras import CameraRanges
from pipeline.toyworld.bank import shape_images
from pipeline.toyworld.vocabulary import SHAPES

RANGES = CameraRanges((-180, 180), (-10, 45), (2.8, 3.2), (40, 40))


def milliseconds_an_image(shape: str, images: int, size: int, diversity: float) -> float:
    """Wall time of one bank file's images, without writing it, divided by their number."""
    began = time.perf_counter()
    shape_images(shape, images, size, RANGES, seed=0, diversity=diversity)
    return (time.perf_counter() - began) / images * 1e3


def seconds_a_training_step(steps: int = 10) -> float:
    """Median wall time of an update of the toy CLIP with its committed settings."""
    from pipeline.toyworld import clip_data
    from pipeline.toyworld.clip_train import Settings, Trainer

    trainer = Trainer(Settings())
    pool = clip_data.pool(24, seed=0)
    times = []
    for _ in range(steps):
        began = time.perf_counter()
        trainer.train_step(pool)
        times.append(time.perf_counter() - began)
    return sorted(times)[steps // 2]


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--images", type=int, default=480)
    parser.add_argument("--diversity", type=float, default=0.0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    for shape in SHAPES:
        cost = milliseconds_an_image(shape, options.images, options.size, options.diversity)
        print(f"{shape:10s} {cost:6.2f} ms an image")
    print(f"toy CLIP   {seconds_a_training_step():6.3f} s a training step")


if __name__ == "__main__":
    main()
