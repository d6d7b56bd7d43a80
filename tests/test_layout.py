"""Imports point one way: which part may import what of ours, read from the sources with ast."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FILES = ("pipeline.artifacts", "pipeline.torchvision_shim")  # import nothing of ours
# part -> what it may import of ours, itself always included
ALLOWED: dict[str, tuple[str, ...]] = {
    "prompts": (),
    "methods": (),
    "pipeline": ("prompts", "methods"),
    "metrics": ("prompts", *FILES),
    "reports": ("prompts", "metrics", *FILES),
    # inside pipeline
    "pipeline.artifacts": (),
    "pipeline.torchvision_shim": (),
    "pipeline.cameras": FILES,
    "pipeline.guidance": FILES,
    "pipeline.scenes": ("pipeline.cameras", *FILES),
    "pipeline.toyworld": ("pipeline.cameras", *FILES),
}
PARTS = ("prompts", "methods", "pipeline", "metrics", "reports")
LOOP = "pipeline.optimize"
# Importing these takes seconds, or fails where they are not needed.
HEAVY = ("diffusers", "transformers", "open_clip", "torchvision", "matplotlib", "pandas", "pyarrow")
HEAVY = (*HEAVY, "peft", "trimesh", "playwright", "snakemake")


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {
    module_name(path): ast.parse(path.read_text(encoding="utf-8"))
    for part in PARTS
    for path in sorted((ROOT / part).rglob("*.py"))
}


def within(name: str, part: str) -> bool:
    """Whether the module `name` is `part` or lies in it."""
    return name == part or name.startswith(part + ".")


def imported(tree: ast.AST) -> Iterator[str]:
    """Every module that may be meant: of `from a import b`, a.b where it is a module, else a."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide where they point"
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                yield full if full in MODULES else str(node.module)


def outside(name: str, allowed: tuple[str, ...], part: str) -> list[str]:
    """What `name`, a module of `part`, imports of ours without being allowed to."""
    ours = [m for m in imported(MODULES[name]) if m.split(".")[0] in PARTS]
    return [m for m in ours if not any(within(m, a) for a in (part, *allowed))]


@pytest.mark.parametrize("part", ALLOWED)
def test_a_part_imports_only_what_lies_below_it(part: str) -> None:
    members = [name for name in MODULES if within(name, part)]
    assert members, f"no module of {part}: has it moved?"
    wrong = {name: outside(name, ALLOWED[part], part) for name in members}
    assert {name: found for name, found in wrong.items() if found} == {}


def test_nothing_imports_the_loop() -> None:
    importers = [name for name, tree in MODULES.items() if LOOP in imported(tree)]
    assert importers == []


def test_heavy_packages_are_imported_where_they_are_used() -> None:
    wrong = {}
    for name, tree in MODULES.items():
        run_on_import = [node for node in tree.body if not _waits(node)]
        top = ast.Module(body=run_on_import, type_ignores=[])
        found = [m for m in imported(top) if m.split(".")[0] in HEAVY]
        if found:
            wrong[name] = found
    assert wrong == {}


def _waits(node: ast.stmt) -> bool:
    """Whether the imports in `node` do not happen when its module is imported."""
    for_types = isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
    return for_types or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)


def test_the_reader_sees_both_forms_of_import() -> None:
    tree = ast.parse("def f():\n    from pipeline import optimize\n    import methods.distill as d")
    assert list(imported(tree)) == ["pipeline.optimize", "methods.distill"]
