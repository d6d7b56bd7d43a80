"""Who imports whom, read from the sources; and how long files and functions may be."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("prompts", "methods", "pipeline", "metrics", "reports")
SOURCES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
SHARED = ("pipeline.artifacts", "pipeline.torchvision_shim")  # metrics and reports may use these

# What each package may import of ours, besides itself.
MAY_IMPORT: dict[str, tuple[str, ...]] = {
    "prompts": (),
    "methods": (),
    "pipeline": ("prompts", "methods"),
    "metrics": ("prompts", *SHARED),
    "reports": ("prompts", "metrics.statistics", *SHARED),
}
# What may stand behind prompts and methods: they are useful on their own.
FOREIGN = {"prompts": {"yaml", "torch", "jaxtyping"}, "methods": {"torch", "jaxtyping"}}

# Within pipeline: a part -> the parts it may import besides itself and `artifacts`.
WITHIN: dict[str, tuple[str, ...]] = {
    "artifacts": (),
    "torchvision_shim": (),
    "cameras": (),
    "controls": (),
    "locks": (),
    "raster": ("cameras",),
    "meshes": ("cameras", "raster"),
    "scenes": ("cameras", "meshes", "raster"),
    "guidance": ("torchvision_shim",),
    "toyworld": ("cameras", "controls", "torchvision_shim"),
}


def _module(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _imports(path: Path) -> set[str]:
    """Every module that `path` imports, anywhere in it; `from a import b` counts as a.b too."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def _under(name: str, allowed: str) -> bool:
    return name == allowed or name.startswith(allowed + ".")


def _ours(path: Path) -> set[str]:
    return {name for name in _imports(path) if name.split(".")[0] in PACKAGES}


@pytest.mark.parametrize("package", PACKAGES)
def test_packages_import_only_what_lies_below_them(package):
    sources = [path for path in SOURCES if _module(path).split(".")[0] == package]
    assert sources
    for path in sources:
        for name in _ours(path):
            allowed = (package, *MAY_IMPORT[package])
            assert any(_under(name, one) for one in allowed), f"{path} imports {name}"


@pytest.mark.parametrize("package", FOREIGN)
def test_prompts_and_methods_need_little(package):
    import sys

    for path in (ROOT / package).rglob("*.py"):
        roots = {name.split(".")[0] for name in _imports(path)}
        extra = roots - sys.stdlib_module_names - {package} - FOREIGN[package]
        assert not extra, f"{path} imports {extra}"


def _part(module: str) -> str:
    return module.split(".")[1] if "." in module else ""


@pytest.mark.parametrize("part", WITHIN)
def test_parts_of_the_pipeline_import_only_what_lies_below_them(part):
    sources = [path for path in SOURCES if _module(path).startswith("pipeline.")]
    for path in sources:
        if _part(_module(path)) != part:
            continue
        for name in _ours(path):
            allowed = {part, "artifacts", *WITHIN[part]}
            ok = name.startswith("pipeline.") and _part(name) in allowed
            assert ok, f"{path} imports {name}"


def test_artifacts_and_the_shim_import_nothing_of_ours():
    for name in SHARED:
        assert _ours(ROOT / (name.replace(".", "/") + ".py")) == set()


STRANGERS = [
    ("pipeline.guidance", ("pipeline.scenes", "methods")),
    ("pipeline.scenes", ("pipeline.guidance", "methods")),
    ("methods", ("pipeline",)),
]


@pytest.mark.parametrize(("part", "others"), STRANGERS)
def test_the_three_interfaces_know_nothing_of_each_other(part, others):
    for path in SOURCES:
        if _under(_module(path), part):
            known = [n for n in _ours(path) if any(_under(n, other) for other in others)]
            assert not known, f"{path} imports {known}"


def test_one_file_brings_methods_guidance_and_scenes_together():
    together = {
        _module(path)
        for path in SOURCES
        if all(
            any(_under(name, part) for name in _ours(path))
            for part in ("methods", "pipeline.guidance", "pipeline.scenes")
        )
    }
    assert together == {"pipeline.distillation"}


def test_only_trials_and_edits_import_optimize():
    """A trial runs a method that no preset has; an edit goes on from a finished run."""
    users = {
        _module(path)
        for path in SOURCES
        if any(_under(name, "pipeline.optimize") for name in _imports(path))
    }
    assert users == {"pipeline.try_method", "pipeline.edit"}


def test_only_what_optimises_trials_and_the_workflow_read_presets():
    """Also doctor, plan and texts, which the workflow asks. Others may import the types."""
    readers = set()
    for path in SOURCES:
        names = {name for name in _ours(path) if _under(name, "pipeline.config")}
        if names & {f"pipeline.config.{name}" for name in ("job", "load_preset")}:
            readers.add(_module(path))
    asked = ("doctor", "plan", "texts")
    assert readers == {
        f"pipeline.{n}" for n in ("optimize", "optimize_image", "try_method", *asked)
    }


HEAVY = {"transformers", "diffusers", "open_clip", "matplotlib", "pandas", "torchvision", "scipy"}


def test_a_mixture_job_starts_without_heavy_imports():
    """Read from the module level of everything that `pipeline.optimize` imports."""
    waiting, seen = ["pipeline.optimize"], set()
    while waiting:
        module = waiting.pop()
        path = ROOT / (module.replace(".", "/") + ".py")
        if module in seen or not path.exists():
            continue
        seen.add(module)
        tree = ast.parse(path.read_text(encoding="utf-8"))
        guarded = [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.If)]
        inside = {id(inner) for node in guarded for inner in ast.walk(node)}
        for node in ast.walk(tree):
            if id(node) in inside:
                continue
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module:
                names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
            else:
                continue
            assert not HEAVY & {name.split(".")[0] for name in names}, f"{module} imports {names}"
            waiting += names
    assert "pipeline.scenes.load" in seen


def test_no_class_inherits_from_another_of_ours_except_errors():
    classes = {
        node.name: node
        for path in SOURCES
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ClassDef)
    }
    for name, node in classes.items():
        bases = {base.id for base in node.bases if isinstance(base, ast.Name)}
        assert not bases & (set(classes) - {"Module"}), f"{name} inherits from {bases}"


@pytest.mark.parametrize("path", SOURCES, ids=_module)
def test_files_and_functions_stay_short(path):
    text = path.read_text(encoding="utf-8")
    assert text.count("\n") <= 300, f"{path}: {text.count(chr(10))} lines"
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            assert lines <= 60, f"{path}: {node.name} has {lines} lines"
