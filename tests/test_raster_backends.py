"""One picture by every backend, fill, batch and run; which backend serves a device."""

import importlib
import importlib.util
import sys
import types

import pytest
import torch
from raster_meshes import FILLS, blob, tensors

from pipeline import cameras
from pipeline.raster import cpu, interface, visibility
from pipeline.raster.projection import clip_positions


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _image(pos, attr, tri, tex, *, backend=cpu, topology=None):
    rast = backend.rasterize(pos, tri, (24, 20))
    values = backend.interpolate(attr, rast, tri)
    color = torch.cat([values, backend.texture(tex, values[..., :2], "clamp")], -1)
    return backend.antialias(color, rast, pos, tri, topology)


def _inputs(seed: int = 0):
    vertices, tri = tensors(blob(3, seed))
    views = cameras.orbit([0.0, 100.0, 200.0], [10.0, 40.0, -20.0], 2.2, 50.0)
    pos = clip_positions(vertices, views, 20 / 24)
    attr = torch.rand(3, len(vertices), 3, generator=_generator(seed))
    tex = torch.rand(3, 6, 5, 2, generator=_generator(seed + 1))
    return [value.requires_grad_() for value in (pos, attr)], tri, tex.requires_grad_()


def _results(pos, attr, tri, tex):
    image = _image(pos, attr, tri, tex)
    return image, torch.autograd.grad(image.square().sum(), (pos, attr, tex))


def test_a_batch_is_its_views_one_by_one():
    (pos, attr), tri, tex = _inputs()
    image, gradients = _results(pos, attr, tri, tex)
    for b in range(3):
        part = slice(b, b + 1)
        one, ones = _results(pos[part], attr[part], tri, tex[part])
        assert torch.equal(one, image[part])
        for single, whole in zip(ones, gradients, strict=True):
            assert torch.equal(single, whole[part])


def test_the_same_input_gives_the_same_bits():
    first, second = (_results(*values, tri, tex) for values, tri, tex in (_inputs(), _inputs()))
    assert torch.equal(first[0], second[0])
    assert all(torch.equal(a, b) for a, b in zip(first[1], second[1], strict=True))


@pytest.mark.parametrize("fill", FILLS)
def test_every_way_of_filling_gives_the_same_picture(fill):
    vertices, tri = tensors(blob(5, 2))
    views = cameras.orbit([0.0, 100.0], [10.0, -40.0], [2.2, 0.9], 50.0)
    pos = clip_positions(vertices, views, 1.0)
    plain = cpu.rasterize_with(visibility.fill_torch, pos, tri, (96, 96))
    assert torch.equal(cpu.rasterize_with(fill, pos, tri, (96, 96)), plain)


def test_without_numba_the_plain_way_is_taken(monkeypatch):
    visibility._compiled.cache_clear()
    with monkeypatch.context() as patch:
        patch.setattr(importlib.util, "find_spec", lambda name: None)
        assert visibility.fastest_fill(torch.device("cpu")) is visibility.fill_torch
    visibility._compiled.cache_clear()
    assert visibility.fastest_fill(torch.device("cuda")) is visibility.fill_torch


NVDIFFRAST = importlib.util.find_spec("nvdiffrast") is not None
needs_nvdiffrast = pytest.mark.skipif(not NVDIFFRAST, reason="nvdiffrast is not installed")


def test_the_backend_is_chosen_by_the_device():
    assert interface.backend("cpu") is cpu
    with pytest.raises(ValueError, match="no rasterizer for device 'meta'; known: cpu, cuda"):
        interface.backend("meta")


@pytest.mark.skipif(NVDIFFRAST, reason="nvdiffrast is installed")
def test_without_nvdiffrast_the_plain_one_serves_and_the_line_that_installs_it_is_named():
    line = r"--no-build-isolation .*nvdiffrast.git@253ac4f"
    with pytest.warns(UserWarning, match=f"the plain rasterizer, slower, in its place: .*{line}"):
        assert interface.backend(torch.device("cuda", 1)) is cpu
    with pytest.raises(ImportError, match=line):
        importlib.import_module("pipeline.raster.cuda")


class _Nvdiffrast:
    """The functions of nvdiffrast.torch 0.4.0 with their documented parameters."""

    def RasterizeCudaContext(self, device=None):
        return "context", device

    def rasterize(self, glctx, pos, tri, resolution, ranges=None, grad_db=True):
        assert glctx[0] == "context"
        assert not grad_db
        assert tri.dtype == torch.int32
        return cpu.rasterize(pos, tri, resolution), None

    def interpolate(self, attr, rast, tri, rast_db=None, diff_attrs=None):
        assert tri.dtype == torch.int32
        return cpu.interpolate(attr, rast, tri), None

    def texture(
        self,
        tex,
        uv,
        uv_da=None,
        mip_level_bias=None,
        mip=None,
        filter_mode="auto",
        boundary_mode="wrap",
        max_mip_level=None,
    ):
        assert filter_mode == "linear"
        return cpu.texture(tex, uv, boundary_mode)

    def antialias_construct_topology_hash(self, tri):
        return cpu.topology(tri)

    def antialias(self, color, rast, pos, tri, topology_hash=None, pos_gradient_boost=1.0):
        return cpu.antialias(color, rast, pos, tri, topology_hash)


@pytest.mark.skipif(NVDIFFRAST, reason="nvdiffrast is installed")
def test_nvdiffrast_is_called_by_its_documented_parameters(monkeypatch):
    package, module = types.ModuleType("nvdiffrast"), _Nvdiffrast()
    package.torch = module
    monkeypatch.setitem(sys.modules, "nvdiffrast", package)
    monkeypatch.setitem(sys.modules, "nvdiffrast.torch", module)
    monkeypatch.delitem(sys.modules, "pipeline.raster.cuda", raising=False)
    cuda = interface.backend("cuda")
    monkeypatch.delitem(sys.modules, "pipeline.raster.cuda")
    (pos, attr), tri, tex = _inputs()
    image = _image(pos, attr, tri, tex)
    again = _image(pos, attr, tri, tex, backend=cuda, topology=cuda.topology(tri))
    assert torch.equal(image, again)


@pytest.mark.requires_cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_the_plain_rasterizer_gives_the_same_on_cuda():
    (pos, attr), tri, tex = _inputs()
    image, gradients = _results(pos, attr, tri, tex)
    there = [value.detach().cuda().requires_grad_() for value in (pos, attr, tex)]
    moved, moved_gradients = _results(there[0], there[1], tri.cuda(), there[2])
    torch.testing.assert_close(moved.cpu(), image, atol=1e-5, rtol=1e-5)
    for ours, theirs in zip(moved_gradients, gradients, strict=True):
        torch.testing.assert_close(ours.cpu(), theirs, atol=1e-4, rtol=1e-3)


@pytest.mark.requires_cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@needs_nvdiffrast
def test_nvdiffrast_draws_the_same():
    """Where its 4 sub-pixel bits and ours agree; antialiasing on triangles larger than a pixel."""
    cuda = interface.backend("cuda")
    (pos, attr), tri, tex = _inputs()
    pos, attr, tex, tri = (value.detach().cuda() for value in (pos, attr, tex, tri))
    seen = [module.rasterize(pos, tri, (64, 64)) for module in (cpu, cuda)]
    same = seen[0][..., 3] == seen[1][..., 3]
    assert same.double().mean() > 0.99
    assert (seen[0] - seen[1])[same].abs().max() < 1e-2
    values = [module.interpolate(attr, seen[1], tri) for module in (cpu, cuda)]
    torch.testing.assert_close(*values, atol=1e-5, rtol=1e-5)
    texels = [module.texture(tex, values[1][..., :2], "wrap") for module in (cpu, cuda)]
    torch.testing.assert_close(*texels, atol=1e-2, rtol=0)
    colors = [module.antialias(values[1], seen[1], pos, tri) for module in (cpu, cuda)]
    assert ((colors[0] - colors[1]).abs().amax(-1) > 1e-3).double().mean() < 5e-3
