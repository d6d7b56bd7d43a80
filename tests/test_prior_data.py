"""What the learned priors are trained on: pictures, captions, faults, depth and edges."""

import numpy as np
import pytest
import torch

from pipeline.controls import canny, nearness
from pipeline.toyworld.objects import build
from pipeline.toyworld.prior_data import GREYS, batch, pool, view_word
from pipeline.toyworld.render import geometry
from pipeline.toyworld.vocabulary import DEGRADATIONS, SHAPES
from pipeline.toyworld.world import seeded


@pytest.fixture(scope="module")
def pictures():
    return pool(12, seed=3, size=32, with_geometry=True)


def test_a_batch_depends_on_its_generator_only(pictures):
    one, same, other = (batch(pictures, 16, seeded("batch", k)) for k in (1, 1, 2))
    assert torch.equal(one.rgb, same.rgb)
    assert one.captions == same.captions
    assert not torch.equal(one.rgb, other.rgb)


def test_captions_name_what_the_pool_shows(pictures):
    b = batch(pictures, 300, seeded("captions"))
    for text, at in zip(b.captions, b.index.tolist(), strict=True):
        if not text or text.split(",")[0] in DEGRADATIONS:
            continue
        assert text.replace(",", "").split()[2] == SHAPES[int(pictures.shape[at])]
        if text.endswith("view"):
            azimuth, elevation = float(pictures.azimuth[at]), float(pictures.elevation[at])
            assert text.split(", ")[1] == f"{view_word(azimuth, elevation)} view"
    share = np.mean([not text for text in b.captions])
    assert 0.06 < share < 0.19  # 0.12 +- three standard errors of 300


def test_the_shares_of_faults_and_of_empty_captions_are_the_callers(pictures):
    clean = batch(pictures, 64, seeded("clean"), degraded=0.0, no_caption=0.0)
    assert not any(text == "" or text.split(",")[0] in DEGRADATIONS for text in clean.captions)
    spoilt = batch(pictures, 64, seeded("spoilt"), degraded=1.0, no_caption=0.0)
    assert all(text.split(",")[0] in DEGRADATIONS for text in spoilt.captions)
    assert all(not text for text in batch(pictures, 8, seeded("no"), no_caption=1.0).captions)


def test_backgrounds_are_greys_of_the_range(pictures):
    corner = batch(pictures, 200, seeded("grey"), degraded=0.0).rgb[:, :, 0, 0]
    assert torch.equal(corner[:, 0], corner[:, 1])
    assert torch.equal(corner[:, 0], corner[:, 2])
    assert GREYS[0] <= float(corner.min()) < 0.3
    assert 0.7 < float(corner.max()) <= GREYS[1]


def test_geometry_covers_what_the_layers_cover(pictures):
    alpha, nearest = pictures.planes[:, 3].float() / 255, pictures.geometry[:, 3].float() / 255
    assert torch.equal(nearest.flatten(1).amax(1), torch.ones(len(nearest)))
    assert float(nearest[alpha == 0].max()) == 0.0
    lit = pictures.geometry[:, :3].float().sum(1)
    assert bool(((lit > 0) == (alpha > 0)).all())


def test_normals_of_a_sphere_point_outwards():
    from pipeline.cameras import orbit, rays
    from pipeline.toyworld.parts import expanded, part

    ball = expanded([part("ellipsoid", (0, 0, 0), (0.8, 0.8, 0.8))], 1)
    cameras = orbit(30.0, 20.0, 3.0, 40.0)
    normal, near, alpha = geometry(ball, cameras, 64)
    origin, ray = (r[0].reshape(-1, 3) for r in rays(cameras, 64, 64))
    along = (origin * ray).sum(-1)
    inside = (alpha.flatten() == 1) & (along.square() - origin.square().sum(-1) + 0.64 > 0.02)
    reach = -along - (along.square() - origin.square().sum(-1) + 0.64).clamp_min(0).sqrt()
    true = ((origin + reach[:, None] * ray) / 0.8)[inside]
    found = normal[0].flatten(1).T[inside]
    assert inside.sum() > 800
    assert float((found * true).sum(-1).min()) > 0.998
    assert float(near.max()) == 1.0


def test_nearness_is_normalised_for_each_image_alone():
    depth = torch.tensor([[2.0, 4.0, 9.0], [20.0, 30.0, 9.0]])[:, None, None]
    alpha = torch.tensor([[1.0, 1.0, 0.0], [0.5, 1.0, 0.0]])[:, None, None]
    expected = torch.tensor([[1.0, 0.0, 0.0], [1.0, 0.0, 0.0]])[:, None, None]
    assert torch.equal(nearness(depth, alpha), expected)


def test_canny_is_opencvs_and_refuses_an_even_blur():
    import cv2

    generator = torch.Generator().manual_seed(0)
    normal = torch.nn.functional.interpolate(
        torch.rand(2, 3, 5, 5, generator=generator), (40, 40), mode="bilinear"
    )
    eight_bit = (normal[1] * 255 + 0.5).to(torch.uint8).permute(1, 2, 0).numpy().copy()
    expected = cv2.Canny(cv2.blur(eight_bit, (3, 3)), 20, 40) > 0
    found = canny(normal, blur=3, low=20, high=40)
    assert found.shape == (2, 1, 40, 40)
    assert 0 < float(found.mean()) < 0.5
    assert np.array_equal(found[1, 0].numpy() > 0, expected)
    with pytest.raises(ValueError, match="odd"):
        canny(normal, blur=4)


def test_a_square_has_edges_around_it():
    normal = torch.zeros(1, 3, 32, 32)
    normal[:, 0, 8:24, 8:24] = 1.0
    edge = canny(normal, blur=1)[0, 0]
    assert float(edge[10:22, 10:22].sum()) == 0
    assert float(edge[:6].sum()) == 0
    assert float(edge[16, 6:10].sum()) >= 1
    assert float(edge[6:10, 16].sum()) >= 1


def test_objects_vary_between_training_and_evaluation():
    """Seeds name other proportions: what is held out was never seen."""
    one, other = (build("duck", 3, 1.0, seeded("instances", s, "duck")) for s in (0, 1000))
    assert not torch.equal(one[0].half, other[0].half)
