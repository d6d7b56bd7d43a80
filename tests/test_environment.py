"""The lists of requirements agree: pyproject.toml is the one source, constraints.txt its lock,
environment.yml a third door to the same packages. No list names a machine, host or CUDA wheel.
"""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
PIN = re.compile(r"[a-z0-9][a-z0-9-]*==[0-9][0-9a-z.]*(\.post[0-9]+)?")
# A name and, after it, conda's version operators; no channel, path or URL.
CONDA_SPEC = re.compile(r"[a-z][a-z0-9-]*([<>=!]=?[0-9.]+(,[<>=!]=?[0-9.]+)*)?")


@pytest.fixture(scope="module")
def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


@pytest.fixture(scope="module")
def lines() -> list[str]:
    return (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()


@pytest.fixture(scope="module")
def pins(lines: list[str]) -> dict[str, str]:
    return dict(line.split("==") for line in lines)


@pytest.fixture(scope="module")
def environment() -> dict[str, Any]:
    return yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))


def requirements(project: dict[str, Any]) -> list[Requirement]:
    extras = project["optional-dependencies"].values()
    return [Requirement(text) for group in (project["dependencies"], *extras) for text in group]


def pip_lines(environment: dict[str, Any]) -> list[str]:
    (section,) = [d["pip"] for d in environment["dependencies"] if isinstance(d, dict)]
    return section


def test_the_lock_holds_nothing_but_names_and_versions(lines: list[str]) -> None:
    assert [line for line in lines if not PIN.fullmatch(line)] == []


def test_the_lock_names_each_package_once_in_order(lines: list[str]) -> None:
    names = [line.split("==")[0] for line in lines]
    assert names == sorted(set(names))
    assert names == [canonicalize_name(name) for name in names]


def test_cuda_wheels_stay_out_of_the_lock(pins: dict[str, str]) -> None:
    # torch pins its own CUDA wheels exactly; a machine without CUDA must not get them from here
    found = [name for name in pins if name.startswith(("nvidia", "triton", "cuda"))]
    assert found == []


def test_the_lock_pins_every_requirement_within_its_range(
    project: dict[str, Any], pins: dict[str, str]
) -> None:
    asked = requirements(project)
    assert [r.name for r in asked if canonicalize_name(r.name) not in pins] == []
    outside = [str(r) for r in asked if pins[canonicalize_name(r.name)] not in r.specifier]
    assert outside == []


@pytest.mark.parametrize("name", ["torch", "torchvision"])
def test_torch_is_pinned_alike_in_both(
    project: dict[str, Any], pins: dict[str, str], name: str
) -> None:
    (requirement,) = [r for r in requirements(project) if r.name == name]
    assert str(requirement.specifier) == f"=={pins[name]}"


def test_the_environment_has_known_keys_and_one_public_channel(environment: dict[str, Any]) -> None:
    assert set(environment) <= {"name", "channels", "dependencies", "variables"}
    assert environment["channels"] == ["conda-forge", "nodefaults"]
    specs = [d for d in environment["dependencies"] if isinstance(d, str)]
    assert [spec for spec in specs if not CONDA_SPEC.fullmatch(spec)] == []


def test_the_environments_python_is_the_projects(
    project: dict[str, Any], environment: dict[str, Any]
) -> None:
    (python,) = [d for d in environment["dependencies"] if str(d).startswith("python")]
    assert SpecifierSet(python.removeprefix("python")) == SpecifierSet(project["requires-python"])


def test_the_environment_keeps_no_second_list(
    project: dict[str, Any], environment: dict[str, Any]
) -> None:
    assert pip_lines(environment) == ["-c constraints.txt", "-e .[slurm]"]
    assert "slurm" in project["optional-dependencies"]
    conda = {re.split(r"[<>=!]", d)[0] for d in environment["dependencies"] if isinstance(d, str)}
    assert conda.isdisjoint(canonicalize_name(r.name) for r in requirements(project))


def test_the_extensions_find_the_build_tools_that_they_need(environment: dict[str, Any]) -> None:
    """tiny-cuda-nn's setup.py imports pkg_resources, which setuptools dropped in 82."""
    specs = [d for d in environment["dependencies"] if isinstance(d, str)]
    (setuptools,) = [d.removeprefix("setuptools") for d in specs if d.startswith("setuptools")]
    assert "81.0.0" in SpecifierSet(setuptools)
    assert "82.0.0" not in SpecifierSet(setuptools)
    assert {"wheel", "ninja", "cuda-nvcc", "cxx-compiler"} <= set(specs)


def test_extensions_built_by_hand_are_pinned_by_commit() -> None:
    text = (ROOT / "environment.yml").read_text(encoding="utf-8")
    addresses = re.findall(r'git\+https://[^"]+', text)
    assert len(addresses) == 2
    assert all(re.search(r"@[0-9a-f]{40}(#|$)", address) for address in addresses)


@pytest.mark.parametrize("module", ["scenes/hashgrid_cuda.py", "raster/cuda.py"])
def test_a_missing_extension_is_asked_for_as_the_environment_has_it(module: str) -> None:
    """The same repository and commit, perhaps a shorter hash."""
    asked = (ROOT / "pipeline" / module).read_text(encoding="utf-8")
    (repository, commit), *_ = re.findall(r"git\+(https://[^@]+)@([0-9a-f]{7,40})", asked)
    environment = (ROOT / "environment.yml").read_text(encoding="utf-8")
    assert f"git+{repository}@{commit}" in environment
