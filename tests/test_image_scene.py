"""The picture as a scene: identity, gradients, projection."""

import pytest
import torch

from pipeline import cameras
from pipeline.scenes.image import Image, ImageSettings

VIEWS = cameras.orbit([0.0, 90.0], 15.0, 3.0, 40.0)


def _image(size: int = 8, seed: int = 0) -> Image:
    return Image(ImageSettings(size), torch.Generator().manual_seed(seed))


def test_every_view_is_the_picture_itself_and_opaque():
    image = _image()
    rendering = image.render(VIEWS, height=8, width=8)
    assert torch.equal(rendering.rgb[0], image.rgb[0])
    assert torch.equal(rendering.rgb[1], image.rgb[0])
    assert (rendering.alpha == 1).all()
    assert rendering.background.shape == rendering.rgb.shape
    assert (image.rgb >= 0).all()
    assert (image.rgb <= 1).all()
    assert torch.equal(image.rgb, _image().rgb)
    assert not torch.equal(image.rgb, _image(seed=1).rgb)


def test_the_pixels_gradient_is_the_direction_itself():
    image = _image()
    direction = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    (image.render(VIEWS, height=8, width=8).rgb * direction).sum().backward()
    assert image.rgb.grad is not None
    torch.testing.assert_close(image.rgb.grad[0], direction.sum(0))


def test_resizing_is_the_area_average_down_and_keeps_constants_up():
    image = _image()
    small = image.render(VIEWS[0], height=4, width=4).rgb[0]
    blocks = image.rgb[0].detach().reshape(3, 4, 2, 4, 2).mean((2, 4))
    torch.testing.assert_close(small, blocks)
    image.load_picture(torch.full((3, 8, 8), 0.25))
    large = image.render(VIEWS[0], height=20, width=20).rgb
    torch.testing.assert_close(large, torch.full_like(large, 0.25))


def test_after_a_step_the_pixels_are_projected_onto_the_unit_interval():
    image = _image()
    with torch.no_grad():
        image.rgb.mul_(5).sub_(2)
    before = image.rgb.detach().clone()
    image.after_step(0, torch.Generator())
    assert torch.equal(image.rgb, before.clamp(0, 1))


def test_it_converges_to_a_target_and_has_no_regularisers():
    image, target = _image(), torch.rand(3, 8, 8, generator=torch.Generator().manual_seed(2))
    (group,) = image.parameter_groups({"image": 0.1})
    optimizer = torch.optim.Adam([group])
    for step in range(100):
        rendering = image.render(VIEWS[0], height=8, width=8)
        assert image.regularization(rendering, step) == {}
        optimizer.zero_grad()
        (rendering.rgb - target).square().sum().backward()
        optimizer.step()
        image.after_step(step, torch.Generator())
    assert (image.rgb - target).abs().max() < 0.02


def test_bad_requests_are_refused_by_name():
    with pytest.raises(ValueError, match="0 pixels"):
        ImageSettings(0)
    with pytest.raises(ValueError, match="normal"):
        _image().render(VIEWS, height=8, width=8, shading="normal")
    with pytest.raises(ValueError, match="image"):
        _image().parameter_groups({"grid": 0.1})
    with pytest.raises(ValueError, match="picture of"):
        _image().load_picture(torch.zeros(3, 4, 4))
