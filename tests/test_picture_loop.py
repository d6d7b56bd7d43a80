"""Plain pictures: DDS at the source is exactly nothing, SDS finds a render, the numbers follow a
slow loop."""

import dataclasses
from typing import Any

import pytest
import torch
from synthetic_bank import component_means, write_bank

from methods import distill
from methods.distill import METHODS
from pipeline import distillation, optimize_image
from pipeline.cameras import orbit
from pipeline.guidance.interface import View
from pipeline.guidance.mixture import Mixture, load
from pipeline.picture_files import begun
from pipeline.picture_loop import Made, PictureFailure, Task
from pipeline.picture_loop import made as optimized

SIZE = 8
SETTINGS: dict[str, Any] = {
    "steps": 4,
    "batch": 2,
    "size": SIZE,
    "weight": "sds",
    "timesteps": {"low": [0.02, 0.02, 4], "high": [0.98, 0.98, 4]},
    "normalize": {"kind": "none", "steps": 1},
    "negative_prompt": "ugly",
    "particle": {"kind": "residual", "width": 4, "learning_rate": 0.001},
    "background": 0.5,
    "camera": {"azimuth": 0.0, "elevation": 15.0, "distance": 3.0, "fovy": 40.0},
    "optimizer": {"betas": [0.9, 0.99], "eps": 1e-15, "image": 0.05, "decay": [1.0, 1.0, 1]},
}


@pytest.fixture(scope="module")
def prior(tmp_path_factory: pytest.TempPathFactory) -> Mixture:
    """A mixture of a few ellipses."""
    return load(
        write_bank(tmp_path_factory.mktemp("bank"), count=32, size=SIZE),
        prompt="a blue car",
        null="marginal",
        component_std=0.1,
        own_count=24,
        others_per_caption=8,
        degraded_mass=0.2,
        generator=torch.Generator().manual_seed(0),
    )


def task(method: str, text: str = "a blue car", **changes: Any) -> Task:
    settings = {"omega": 6.5} if "omega0" not in method and method != "csd" else {}
    source = "a red car" if method.startswith("dds") else None
    parts = {"source_text": source, "seed": 0, "settings": SETTINGS} | changes
    return Task(method=method, method_settings=settings, text=text, **parts)


def made(asked: Task, prior: Any, *, start: Any = None, source: Any = None) -> Made:
    """The picture of a task, begun as the programs do."""
    return optimized(asked, prior, *begun(SIZE, asked.seed, start), source=source)


def source_of(prior: Mixture) -> torch.Tensor:
    """Some red car in front of grey, in [0, 1]."""
    index = torch.nonzero(prior.embed(["a red car"])[0]).flatten()[3]
    mean = component_means(prior, torch.full((3,), 0.5))[index]
    return (0.5 + 0.5 * mean).view(3, SIZE, SIZE).clamp(0, 1)


@pytest.mark.parametrize("method", ["dds", "dds_omega0"])
def test_dds_leaves_a_picture_that_already_is_its_source_exactly_as_it_was(
    prior: Mixture, method: str
) -> None:
    source = source_of(prior)
    same = task(method, text="a red car", source_text="a red car")
    assert torch.equal(made(same, prior, start=source, source=source).rgb, source)
    other = made(task(method), prior, start=source, source=source).rgb
    assert not torch.equal(other, source)


class Drawing:
    """A prior whose encoder draws: x is the picture plus noise of its own generator."""

    def __init__(self, prior: Mixture) -> None:
        self.prior, self.generator = prior, torch.Generator().manual_seed(1)
        self.alphas_cumprod, self.embed, self.eps = prior.alphas_cumprod, prior.embed, prior.eps

    def encode(self, rgb: torch.Tensor) -> torch.Tensor:
        return self.prior.encode(rgb) + torch.randn(rgb.shape, generator=self.generator)


def test_picture_and_source_are_encoded_with_the_same_draw(prior: Mixture) -> None:
    source, drawing = source_of(prior), Drawing(prior)
    same = task("dds", text="a red car", source_text="a red car")
    assert torch.equal(made(same, drawing, start=source, source=source).rgb, source)


def test_one_step_is_the_row_of_coefficients_times_predictions_made_one_by_one(
    prior: Mixture,
) -> None:
    """Adam's first step moves every pixel by its rate against the sign of the gradient."""
    source, start = source_of(prior), torch.full((3, SIZE, SIZE), 0.4)
    once = task("dds", settings=SETTINGS | {"steps": 1})
    found = made(once, prior, start=start, source=source).rgb

    generator = torch.Generator().manual_seed(0)
    torch.randn(1, 3, SIZE, SIZE, generator=generator)  # the picture's own beginning
    t = torch.randint(20, 981, (2,), generator=generator)
    noise = torch.randn(2, 3, SIZE, SIZE, generator=generator)
    abar = prior.alphas_cumprod[t][:, None, None, None].float()
    view = View(torch.full((2, 3), 0.5), torch.eye(4).expand(2, 4, 4))

    def eps(picture: torch.Tensor, text: str) -> torch.Tensor:
        x_t = abar.sqrt() * (2 * picture - 1) + (1 - abar).sqrt() * noise
        rows = prior.embed([text])[:, None].expand(1, 2, -1)
        return prior.eps(x_t, t, rows, view)[0]

    guided = 7.5 * eps(start, "a blue car") - 6.5 * eps(start, "")
    guided = guided - (7.5 * eps(source, "a red car") - 6.5 * eps(source, ""))
    gradient = ((1 - abar) * guided).sum(0)
    moved = gradient.abs() > 1e-3  # elsewhere rounding decides the sign
    assert moved.float().mean() > 0.5
    expected = (start - 0.05 * gradient.sign()).clamp(0, 1)
    torch.testing.assert_close(found[moved], expected[moved], atol=1e-5, rtol=0)


def test_sds_without_guidance_turns_noise_into_a_render(prior: Mixture) -> None:
    long = {"steps": 150, "timesteps": {"low": [0.02, 0.02, 1], "high": [0.98, 0.3, 150]}}
    found = made(Task("sds", {"omega": 0.0}, "a blue car", None, 0, SETTINGS | long), prior)
    index = torch.nonzero(prior.embed(["a blue car"])[0]).flatten()
    renders = 0.5 + 0.5 * component_means(prior, torch.full((3,), 0.5))[index]
    error = (renders.view(-1, 3, SIZE, SIZE) - found.rgb).square().mean((1, 2, 3)).sqrt()
    assert error.min() < 0.1  # grey noise begins at 0.2
    assert found.evaluations == {"text": 300}  # no network predicts the noise


def test_a_seed_stands_for_one_picture_and_a_particle_is_trained(prior: Mixture) -> None:
    vsd = task("vsd")
    first, again = made(vsd, prior), made(vsd, prior)
    assert torch.equal(first.rgb, again.rgb)
    assert not torch.equal(first.rgb, made(task("vsd", seed=1), prior).rgb)
    assert first.evaluations["particle_training"] == 8
    assert distill.PARTICLE in first.evaluations


@pytest.mark.parametrize("method", ["sds", "vsd"])
def test_two_steps_are_those_of_the_optimisation_in_3d_on_the_same_picture(
    prior: Mixture, tiny_job: Any, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    """The second step's particle has been trained, and its rate has decayed."""
    job = tiny_job("vsd" if method == "vsd" else "csd", snapshots=[])
    rates = {"betas": [0.9, 0.99], "eps": 1e-15, "image": 0.05, "decay": [1.0, 0.5, 2]}
    plain = {"size": SIZE, "particle": SETTINGS["particle"], "optimizer": rates}
    plain |= {"trace": {"every": 1, "extra_every": 0, "probes": 0}, "gradient_weight": 1.0}
    settings = job.settings | plain
    job = dataclasses.replace(job, method=method, method_settings={"omega": 6.5}, settings=settings)
    flat = optimize_image.task_of(job, "front", job.settings["optimizer"])
    flat = dataclasses.replace(flat, settings=flat.settings | {"steps": 2})
    expected = made(flat, prior)

    image, generator = begun(SIZE, job.seed)
    camera = flat.settings["camera"]
    seen = orbit([camera["azimuth"]] * 2, *(camera[k] for k in ("elevation", "distance", "fovy")))

    def looked(step: int, scene: Any, *_: Any) -> tuple[Any, Any, View]:
        rendering = scene.render(seen, height=SIZE, width=SIZE)
        return rendering, seen, View(torch.full((2, 3), 0.5), seen.c2w, {}, step)

    monkeypatch.setattr(distillation, "observe", looked)
    monkeypatch.setattr(distillation, "load_scene", lambda *_, **__: image)
    problem = distillation.problem_of(job, prior)
    run = distillation.start_run(problem, "cpu", None)
    run.generator = generator
    for step in range(2):
        distillation.one_step(step, run, problem)
    assert torch.equal(image.rgb.detach()[0], expected.rgb)
    assert dict(run.evaluations) == dict(expected.evaluations)


def test_what_cannot_be_made_is_refused(prior: Mixture) -> None:
    with pytest.raises(ValueError, match="dds compares with a source picture"):
        made(task("dds"), prior, start=source_of(prior))

    class Broken(Drawing):
        def encode(self, rgb: torch.Tensor) -> torch.Tensor:
            return rgb * float("nan")

    with pytest.raises(PictureFailure, match="csd: the direction at step 0 is not finite"):
        made(task("csd"), Broken(prior))
    assert "dds" in METHODS
    assert isinstance(made(task("csd"), prior), Made)
