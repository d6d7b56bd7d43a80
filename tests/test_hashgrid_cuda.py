"""The hash grid by tinycudann: what it is asked, when it is asked, and that it answers the same.

tinycudann needs a GPU even to be imported. Without one, a fake that reads tables by the plain twin
stands in its place, and refuses what tinycudann's bindings refuse.
"""

import importlib
import importlib.util
import math
import sys
import types
import warnings

import pytest
import torch

from pipeline.config import load_preset
from pipeline.scenes import hashgrid, hashgrid_plain
from pipeline.scenes.hashgrid import HashGrid, HashGridSettings, grid_levels
from pipeline.scenes.heads import MlpHead

TINYCUDANN = importlib.util.find_spec("tinycudann") is not None
MODULE = "pipeline.scenes.hashgrid_cuda"
LINE = r"--no-build-isolation .*NVlabs/tiny-cuda-nn/@[0-9a-f]{40}#subdirectory=bindings/torch"
MIXED = HashGridSettings(levels=4, features=2, log2_entries=9, base_resolution=4, growth=1.7)
GRANULARITY = 256  # tinycudann pads batches to a multiple of it


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _parts(count: int, settings: HashGridSettings = MIXED, device: str = "cpu"):
    """A rough table, points off the upper border, and a pull."""
    table = torch.randn(HashGrid(settings, _generator(0)).table.shape, generator=_generator(1))
    points = 0.95 * torch.rand(3, count, generator=_generator(2))
    pull = torch.randn(settings.levels * settings.features, count, generator=_generator(3))
    return [value.to(device).requires_grad_() for value in (table, points, pull)]


def _documented_count(config: dict) -> int:
    """Parameters of tinycudann's grid: of each level the nodes, rounded up to 8, at most 2^k."""
    total = 0
    for level in range(config["n_levels"]):
        scale = config["base_resolution"] * config["per_level_scale"] ** level - 1
        nodes = (math.ceil(scale) + 1) ** 3
        total += min(-(-nodes // 8) * 8, 2 ** config["log2_hashmap_size"])
    return total * config["n_features_per_level"]


class _Into(torch.autograd.Function):
    """What goes into the bindings, in any derivative, is contiguous float32."""

    @staticmethod
    def forward(ctx, x):
        assert x.is_contiguous()
        assert x.dtype == torch.float32
        return x.clone()

    @staticmethod
    def backward(ctx, grad):
        return _OutOf.apply(grad)


class _OutOf(torch.autograd.Function):
    """What comes out of the bindings is memory of their own."""

    @staticmethod
    def forward(ctx, x):
        return x.clone(memory_format=torch.contiguous_format)

    @staticmethod
    def backward(ctx, grad):
        return _Into.apply(grad)


class _Encoding(torch.nn.Module):
    """tinycudann.Encoding with its documented parameters, in float32."""

    def __init__(self, n_input_dims, encoding_config, seed=1337, dtype=None):
        super().__init__()
        assert (n_input_dims, dtype) == (3, torch.float32)
        self.config = encoding_config
        self.params = torch.nn.Parameter(torch.zeros(_documented_count(encoding_config)))

    def forward(self, x):
        names = ("n_levels", "n_features_per_level", "log2_hashmap_size", "base_resolution")
        settings = HashGridSettings(
            *(self.config[name] for name in names), self.config["per_level_scale"]
        )
        rows, missing = len(x), -len(x) % GRANULARITY
        assert rows
        padded = torch.nn.functional.pad(x, [0, 0, 0, missing]) if missing else x
        table = _Into.apply(self.params).view(-1, settings.features)
        found = hashgrid_plain.features(table, _Into.apply(padded).t(), settings)
        return _OutOf.apply(found.t())[:rows, : len(found)]


@pytest.fixture
def cuda(monkeypatch):
    """The module as it is where tinycudann is installed; `backend` finds it for "cuda"."""
    package = types.ModuleType("tinycudann")
    package.Encoding = _Encoding
    monkeypatch.setitem(sys.modules, "tinycudann", package)
    monkeypatch.delitem(sys.modules, MODULE, raising=False)
    choose = hashgrid.backend
    choose.cache_clear()
    yield choose("cuda")
    choose.cache_clear()
    del sys.modules[MODULE]


def _readings(read, table, points, pull):
    """All four readings, their derivatives, and those of the derivatives."""
    pull = pull[: MIXED.levels * MIXED.features]
    values = [read.features(table, points, MIXED), read.summed(table, points, MIXED, 1)]
    values.append(read.summed(table, points, MIXED, None))
    slopes = [
        read.gradient(table, points, MIXED, pull),
        read.summed_gradient(table, points, MIXED, 1),
    ]
    first = torch.autograd.grad(sum(v.square().sum() for v in values), (table, points))
    second = torch.autograd.grad(sum(s.square().sum() for s in slopes), (table, pull))
    return [*values, *slopes, *first, *second]


def test_the_settings_have_tinycudanns_names(cuda):
    grid = load_preset("paper")["stages"]["nerf"]["scene"]["grid"]
    assert cuda.encoding_config(HashGridSettings(**grid)) == {
        "otype": "Grid",
        "type": "Hash",
        "n_levels": 16,
        "n_features_per_level": 2,
        "log2_hashmap_size": 19,
        "base_resolution": 16,
        "per_level_scale": 1.38191,
        "interpolation": "Linear",
    }


@pytest.mark.parametrize("preset", ["paper", "literature", "mini"])
def test_tables_have_as_many_numbers_as_tinycudanns(cuda, preset):
    for stage in load_preset(preset)["stages"].values():
        settings = HashGridSettings(**stage["scene"]["grid"])
        last = grid_levels(settings)[-1]
        ours = (last.offset + last.entries) * settings.features
        assert ours == _documented_count(cuda.encoding_config(settings))


@pytest.mark.parametrize("count", [5, GRANULARITY, 2 * GRANULARITY + 1])
def test_all_readings_and_their_derivatives_are_the_plain_twins(cuda, count):
    """Also for whole multiples of the granularity, where nothing is padded and cut off again.

    The numbers go up to some hundreds: 1e-3 is the rounding of their sums in float32.
    """
    for ours, theirs in zip(
        _readings(cuda, *_parts(count)), _readings(hashgrid_plain, *_parts(count)), strict=True
    ):
        torch.testing.assert_close(ours, theirs, atol=1e-3, rtol=1e-4)


def test_without_gradients_slopes_are_the_same_and_keep_no_graph(cuda):
    table, points, pull = _parts(7)
    expected = cuda.gradient(table, points, MIXED, pull)
    with torch.no_grad():
        found = cuda.gradient(table, points, MIXED, pull)
    assert torch.equal(found, expected)
    assert not found.requires_grad


def test_no_points_are_no_features_and_no_gradient(cuda):
    table, points, pull = _parts(0)
    found = cuda.features(table, points, MIXED)
    assert found.shape == (8, 0)
    (gradient,) = torch.autograd.grad(found.sum(), table)
    assert torch.equal(gradient, torch.zeros_like(table))
    assert cuda.gradient(table, points, MIXED, pull).shape == (3, 0)


def test_the_normals_of_a_network_head_are_the_plain_twins(cuda, monkeypatch):
    head = MlpHead(MIXED, _generator(0))
    points = _parts(40)[1].detach()
    with torch.no_grad():
        head.grid.table.mul_(1e4)
    parameters = list(head.parameters())
    results = []
    for read in (hashgrid_plain, cuda):
        monkeypatch.setattr(hashgrid, "backend", lambda device, read=read: read)
        slope = head.density_gradient(points)
        total = slope.square().sum() + head(points).square().sum()
        results.append([slope, *torch.autograd.grad(total, parameters)])
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)


def test_a_scenes_file_is_the_same_whichever_reads_it(cuda):
    grid = HashGrid(MIXED, _generator(0))
    cuda.features(grid.table, _parts(3)[1], MIXED)
    assert list(grid.state_dict()) == ["table"]


def test_a_table_laid_out_otherwise_is_refused(cuda):
    table, points, _ = _parts(3)
    with pytest.raises(ValueError, match=r"the scene's \d+: install the commit that environment"):
        cuda.features(table[:-8], points, MIXED)


def test_the_device_chooses(cuda):
    assert hashgrid.backend("cpu") is hashgrid_plain
    assert hashgrid.backend("cuda") is cuda


@pytest.mark.skipif(TINYCUDANN, reason="tinycudann is installed")
def test_without_tinycudann_the_plain_one_serves_and_the_line_that_installs_it_is_named_once():
    hashgrid.backend.cache_clear()
    with pytest.warns(UserWarning, match=f"the plain hash grid, slower, in its place: .*{LINE}"):
        assert hashgrid.backend("cuda") is hashgrid_plain
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert hashgrid.backend("cuda") is hashgrid_plain
    hashgrid.backend.cache_clear()


def test_an_installed_tinycudann_that_finds_no_gpu_says_so_too(monkeypatch, tmp_path):
    """Its import raises OSError then."""
    (tmp_path / "tinycudann.py").write_text("raise EnvironmentError('Unknown compute capability')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "tinycudann", raising=False)
    monkeypatch.delitem(sys.modules, MODULE, raising=False)
    with pytest.raises(ImportError, match=rf"{LINE}.*\(Unknown compute capability\)"):
        importlib.import_module(MODULE)


needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")


@pytest.mark.requires_cuda
@needs_cuda
def test_the_plain_hash_grid_reads_the_same_on_cuda():
    """index_add sums in another order there: relative rounding of sums of some hundred terms."""
    here, there = (_readings(hashgrid_plain, *_parts(600, device=d)) for d in ("cpu", "cuda"))
    for ours, theirs in zip(there, here, strict=True):
        torch.testing.assert_close(ours.cpu(), theirs, atol=1e-3, rtol=1e-4)


@pytest.mark.requires_cuda
@needs_cuda
@pytest.mark.skipif(not TINYCUDANN, reason="tinycudann is not installed")
@pytest.mark.parametrize("count", [5, 2 * GRANULARITY, 601])
def test_tinycudann_reads_the_same(count):
    """exp2 of the level may differ by an ulp, and with it the place in a cell by 1e-5 of it."""
    hashgrid.backend.cache_clear()
    served = hashgrid.backend("cuda")
    assert served.__name__ == MODULE
    parts = _parts(count, device="cuda")
    for ours, theirs in zip(
        _readings(served, *parts), _readings(hashgrid_plain, *parts), strict=True
    ):
        torch.testing.assert_close(ours, theirs, atol=1e-2, rtol=1e-3)
