"""What a gallery of full size costs a browser: time to open, the longest frame of a scroll, memory.

    python -m benchmarks.gallery [--keep FOLDER]

Pages of the size of the paper's are built from synthetic runs in a temporary folder: geometry.html
with 81 prompts x 6 columns x 2 stages and a model each, texture.html with 20 x 6. Headless Chromium
opens them from files, scrolls from top to end with all turntables turning, and opens and closes
a row of models.

`longest task` is processor time of the page's main thread, which other work on the machine does not
lengthen; frames are by the clock, without a graphics card, the least of three visits. Exit status 1
when a limit is exceeded.
"""

import argparse
import functools
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.artifacts import write_json
from reports import gallery

# The tests' own browser and synthetic runs.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))
import browser as chromium
import synthetic_results as synthetic
from synthetic_tables import write_tables

COLUMNS = tuple(f"method{i}" for i in range(6))
DRAWN = 6  # prompts with pictures of their own; the others link to theirs
LIMITS = {"opens, ms": 2000.0, "longest task, ms": 100.0, "heap, MB": 60.0}
CATEGORIES = ["toplevel", "devtools.timeline"]
REPEATS = 3
PLAIN = ["--no-sandbox", "--disable-background-networking", "--no-first-run", "--disable-gpu"]
SCROLL = """async () => {
  const gaps = [];
  let last = performance.now();
  scrollTo(0, 0);
  for (let y = 0; y < document.documentElement.scrollHeight - innerHeight; y += 120) {
    scrollTo({ top: y, behavior: "instant" });
    const now = await new Promise(requestAnimationFrame);
    gaps.push(now - last);
    last = now;
  }
  return gaps.slice(2);
}"""


def write_runs(root: Path, *, task: str, stages: dict[str, str], prompts: int) -> list[str]:
    """Runs, lists and tables below `root`; `stages` are stage -> name of its list, the last one
    first. Returns the gallery's options.
    """
    pairs = []
    for stage, name in stages.items():
        records = []
        for p in range(prompts):
            for c, column in enumerate(COLUMNS):
                text = f"a thing of many parts, number {p}, such as a prompt may name"
                record = synthetic.run_record(text, column, 0, task=task, stage=stage)
                if (p, c) in ((3, 1), (40, 4)):
                    record |= {"status": "failed", "reason": "not finite", "placeholder": True}
                folder = Path(column, record["prompt_id"], "seed0", stage)
                _write_run(root / "runs" / task, folder, record, p, c)
                records.append(record)
        listed = synthetic.write_list(root, name, dict.fromkeys(COLUMNS, stage))
        write_tables(root / "tables" / name, records, np.random.default_rng(0), traced=36)
        pairs.append([str(listed), str(root / "tables" / name)])
    earlier = [option for pair in pairs[1:] for option in ("--earlier", *pair)]
    return ["--task", task, "--runs", pairs[0][0], "--tables", pairs[0][1], *earlier]


def _write_run(root: Path, folder: Path, record: dict[str, Any], p: int, c: int) -> None:
    drawn = root / "drawn" / record["stage"] / f"{p % DRAWN}-{c % 2}"
    if not drawn.exists():
        scene = synthetic.balls(p, 0.05 + 0.05 * (c % 2), np.random.default_rng(p))
        mesh = record["stage"] != "nerf"
        synthetic.write_run(drawn, scene, record, size=96, mesh=mesh, frames=36)
    shutil.copytree(drawn, root / folder, copy_function=os.link)
    (root / folder / "run.json").unlink()
    write_json(root / folder / "run.json", record)


def write_pages(root: Path) -> list[Path]:
    """The two pages of full size in `root`."""
    stages = {"mesh": "geometry", "nerf": "geometry.nerf"}
    options = {
        "geometry": write_runs(root, task="geometry", stages=stages, prompts=81),
        "texture": write_runs(root, task="texture", stages={"texture": "texture"}, prompts=20),
    }
    pages = []
    for task, given in options.items():
        pages.append(root / f"{task}.html")
        shown = ["--preset-name", "mini", "--columns", *COLUMNS, "--out", str(pages[-1])]
        gallery.main([*given, *shown])
    return pages


def scrolled(browser: Any, page_file: Path) -> dict[str, float]:
    """What opening and scrolling cost; heap is what is in use after a collection."""
    context = browser.new_context(viewport={"width": 1400, "height": 900})
    page = context.new_page()
    session = context.new_cdp_session(page)
    page.goto(page_file.as_uri())
    opened = page.evaluate("performance.timing.loadEventEnd - performance.timing.navigationStart")
    browser.start_tracing(page=page, categories=CATEGORIES)
    gaps = page.evaluate(SCROLL)
    tasks = main_thread_tasks(json.loads(browser.stop_tracing())["traceEvents"])
    heap = _heap(session)
    elements = page.evaluate("document.querySelectorAll('*').length")
    context.close()
    return {
        "opens, ms": opened,
        "longest task, ms": max(tasks),
        "longest frame, ms": max(gaps),
        "middle frame, ms": float(np.median(gaps)),
        "frames": len(gaps),
        "heap, MB": heap,
        "elements": elements,
    }


def main_thread_tasks(events: Sequence[Mapping[str, Any]]) -> list[float]:
    """Milliseconds of processor time of each task of pages' main threads in a trace."""
    named = [e for e in events if e.get("name") == "thread_name"]
    mains = {(e["pid"], e["tid"]) for e in named if e["args"]["name"] == "CrRendererMain"}
    return [
        e["tdur"] / 1000
        for e in events
        if e["name"].endswith("RunTask") and "tdur" in e and (e["pid"], e["tid"]) in mains
    ]


def with_models(browser: Any, page_file: Path) -> dict[str, float]:
    """Heap while the first row's models are open, and after they are closed."""
    context = browser.new_context(viewport={"width": 1400, "height": 900})
    page = context.new_page()
    session = context.new_cdp_session(page)
    page.goto(page_file.as_uri())
    page.keyboard.press("j")  # to the first row
    page.keyboard.press("v")
    viewers = "[...document.querySelectorAll('model-viewer')]"
    chromium.wait_until(page, viewers + f".length === {len(COLUMNS)}")
    chromium.wait_until(page, viewers + ".every(v => v.loaded)")
    opened = _heap(session)
    page.keyboard.press("v")
    closed = _heap(session)
    context.close()
    return {"heap with 6 models, MB": opened, "heap once closed, MB": closed}


def _heap(session: Any) -> float:
    session.send("HeapProfiler.collectGarbage")
    return session.send("Runtime.getHeapUsage")["usedSize"] / 1e6


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints a table; 1 when a limit is exceeded."""
    from playwright.sync_api import sync_playwright

    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--keep", type=Path, help="leave the pages in this new folder")
    keep = parser.parse_args(arguments).keep
    exceeded = False
    with tempfile.TemporaryDirectory() as temporary, sync_playwright() as playwright:
        start = functools.partial(playwright.chromium.launch, executable_path=chromium.CHROMIUM)
        plain, drawing = start(args=PLAIN), start(args=chromium.ARGUMENTS)
        for page_file in write_pages(keep or Path(temporary)):
            visits = [scrolled(plain, page_file) for _ in range(REPEATS)]
            least = {name: min(visit[name] for visit in visits) for name in visits[0]}
            least |= with_models(drawing, page_file)
            print(f"{page_file.name}, {page_file.stat().st_size / 1e6:.1f} MB")
            for name, value in least.items():
                limit = LIMITS.get(name)
                exceeded |= limit is not None and value > limit
                told = f"   limit {limit:,.0f}" if limit else ""
                print(f"  {name:24}{value:10,.1f}{told}", flush=True)
        print(f"load of the machine: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
        plain.close()
        drawing.close()
    return int(exceeded)


if __name__ == "__main__":
    sys.exit(main())
