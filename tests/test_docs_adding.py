"""docs/adding_*.md, followed to the letter in a copy: every snippet goes where the page says."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parent.parent
PARTS = ("methods", "metrics", "pipeline", "presets", "prompts", "reports")


def snippets(page: str, language: str) -> list[str]:
    """The page's code blocks of one language."""
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def quoted(page: str, start: str) -> str:
    """The entry of a dict that the page quotes within a sentence, from `start` to its comma."""
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    found = re.search(rf"`({re.escape(start)}[^`]*,)`", text)
    assert found, f"{page} quotes no {start}"
    return found.group(1)


def put(path: Path, anchor: str, text: str, *, before: bool = False) -> None:
    """`text` stands behind the first `anchor` of the file, or before it."""
    content = path.read_text(encoding="utf-8")
    assert anchor in content, f"{path.name}: no {anchor!r}"
    both = text + anchor if before else anchor + text
    path.write_text(content.replace(anchor, both, 1), encoding="utf-8")


@pytest.fixture
def copy(tmp_path):
    """The packages and one folder of tests; weights are the original's."""
    for part in PARTS:
        left = shutil.ignore_patterns("__pycache__", "weights")
        shutil.copytree(ROOT / part, tmp_path / part, ignore=left)
    weights = "pipeline/toyworld/weights"
    (tmp_path / weights).symlink_to(ROOT / weights)
    (tmp_path / "tests").mkdir()
    return tmp_path


def python(copy: Path, *arguments: str) -> str:
    """What the interpreter says in the copy; it has to succeed."""
    done = subprocess.run(
        [sys.executable, *arguments], cwd=copy, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def run_tests(copy: Path, file: str) -> str:
    return python(copy, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"tests/{file}")


def test_a_method(copy):
    page = "adding_a_method.md"
    row, entry, test = snippets(page, "python")
    put(copy / "methods/distill.py", "METHODS: dict", row + "\n\n", before=True)
    put(copy / "methods/distill.py", "    for method in (\n", entry)
    shutil.copy(ROOT / "tests/test_methods_distill.py", copy / "tests")
    put(copy / "tests/test_methods_distill.py", "SETTINGS = {\n", quoted(page, '"text_neg"'))
    with (copy / "tests/test_methods_distill.py").open("a") as file:
        file.write("\n\n" + test)
    run_tests(copy, "test_methods_distill.py")
    put(copy / "presets/smoke.yaml", "columns:", "\n" + snippets(page, "yaml")[0].rstrip())
    said = "from pipeline import config, try_method as t; print(t.settings_of('text_neg', None), "
    found = python(copy, "-c", said + "'text_neg' in config.load_preset('smoke')['columns'])")
    assert found == "{} True\n"


def test_a_prompt_set(copy):
    page = "adding_a_prompt_set.md"
    (copy / "prompts/sets/pets.yaml").write_text(snippets(page, "yaml")[0], encoding="utf-8")
    check, use, *_ = snippets(page, "sh")
    command = re.search(r'-c "(.*)"', check).group(1)
    assert python(copy, "-c", command) == "3 prompts\n"
    make = use.splitlines()[0]
    subprocess.run(["bash", "-c", make], cwd=copy, check=True)
    made = "from pipeline import config, plan, recipes; p = config.load_preset('pets'); "
    made += "plan.check_candidates(p); print([x.text for x in recipes.prompts(p, 'geometry')])"
    assert "cyan robot" in python(copy, "-c", made)
    sizes = (ROOT / "tests/test_prompts_load.py").read_text(encoding="utf-8")
    assert '"toy6": 6,' in sizes
    assert quoted(page, '"pets"') == '"pets": 3,'


def test_a_metric(copy):
    page = "adding_a_metric.md"
    function, test, shown = snippets(page, "python")
    statistics = copy / "metrics/image_stats.py"
    put(statistics, "STATISTICS: dict", function + "\n\n", before=True)
    put(statistics, '"opacity": opacity,\n', quoted(page, '"coverage"') + "\n")
    put(copy / "reports/metric_names.py", "METRICS: dict[str, Metric] = {\n", shown)
    shutil.copy(ROOT / "tests/test_metrics_image_stats.py", copy / "tests")
    with (copy / "tests/test_metrics_image_stats.py").open("a") as file:
        file.write("\n\n" + test)
    run_tests(copy, "test_metrics_image_stats.py")
    asked = "import numpy as np; from metrics import measure; from reports.metric_names import "
    asked += "METRICS; v = measure.looked_at(np.ones((4, 6, 6, 4))); "
    asked += "print(v['front', 'coverage'], METRICS['coverage'].text(v['front', 'coverage']))"
    assert python(copy, "-c", asked) == "1.0 100.0\n"


def test_a_prior(copy):
    page = "adding_a_prior.md"
    module, loader, test = snippets(page, "python")
    entry, keys = snippets(page, "yaml")
    (copy / "pipeline/guidance/mirrored.py").write_text(module, encoding="utf-8")
    load = copy / "pipeline/guidance/load.py"
    put(load, "PRIORS: dict", loader + "\n\n", before=True)
    put(load, "= {\n", quoted(page, '"mirrored"') + "\n")
    schema = copy / "presets/schema.yaml"
    text = schema.read_text(encoding="utf-8")
    start = text.index("  deepfloyd:")
    block = text[start : text.index("  stable_diffusion:", start)].replace("deepfloyd", "mirrored")
    put(schema, "  stable_diffusion:", block, before=True)
    put(schema, "kind: {enum: [mixture,", " mirrored,")
    put(schema, 'then: {$ref: "#/$defs/mixture"}\n', keys)
    smoke = copy / "presets/smoke.yaml"
    put(smoke, "\npriors:\n", entry.replace("kind: deepfloyd", "kind: mirrored"))
    checked = "from pipeline import config; p = config.load_preset('smoke+mine'); "
    said = python(copy, "-c", checked + "print(p['stages']['nerf']['prior'], p['priors']['mine'])")
    assert said.startswith("mine ")
    assert yaml.safe_load(entry)["mine"]["path"] == "build/mine"
    head = "import torch\n\nfrom pipeline.guidance.interface import View\n"
    head += "from pipeline.guidance.mirrored import load\n\n\n"
    (copy / "tests/test_mirrored.py").write_text(head + test, encoding="utf-8")
    run_tests(copy, "test_mirrored.py")
