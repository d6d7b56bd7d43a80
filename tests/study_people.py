"""People who answer a frozen study in a known way, and write the files that its page would write.

What they prefer follows Luce's model: the chance of a column is its weight over that of all shown.
"""

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import synthetic_results as synthetic

from pipeline import artifacts


@dataclass(frozen=True)
class Person:
    """`weights` by column; `same`: chance of no difference; `first_place`: chance of answering
    with the first place whatever it shows; `careful`: whether checks are seen for what they are.
    """

    weights: Mapping[str, float]
    same: float = 0.0
    first_place: float = 0.0
    careful: bool = True
    milliseconds: int = 4000
    client: Mapping[str, Any] = field(default_factory=lambda: {"width": 1400, "height": 900})

    def choice(
        self, shown: list[str], pictures: Mapping[str, Any], rng: np.random.Generator
    ) -> str:
        """The id of what is chosen, or `same`."""
        if rng.random() < self.first_place:
            return shown[0]
        whole = [name for name in shown if not pictures[name]["scrambled"]]
        if len(whole) < len(shown) and self.careful:
            return whole[0]
        if rng.random() < self.same:
            return "same"
        weights = np.array([self.weights[pictures[name]["column"]] for name in shown])
        return str(rng.choice(shown, p=weights / weights.sum()))


def answers(
    study: Mapping[str, Any],
    key: Mapping[str, Any],
    form: int,
    person: Person,
    rng: np.random.Generator,
) -> dict[str, Any]:
    """The content of this person's file for `form` (from 1)."""
    given, at = [], 0
    for trial in study["forms"][form - 1]:
        for question in study["questions"]:
            spent = int(person.milliseconds * (0.5 + rng.random()))
            at += spent
            choice = person.choice(trial["shown"], key["pictures"], rng)
            answer = {"trial": trial["id"], "question": question["id"], "shown": trial["shown"]}
            answer |= {"choice": choice, "rt_ms": spent, "away_ms": 0, "at_ms": at}
            given.append(answer | {"input": "keyboard", "revised": 0})
    content = {
        "schema_version": study["schema_version"],
        "kind": "study answers",
        "study_id": study["study_id"],
        "study_sha256": study["study_sha256"],
        "form": form,
        "participant": rng.bytes(6).hex(),
        "started": "2025-01-01T10:00:00.000Z",
        "finished": f"2025-01-01T11:{form % 60:02d}:00.000Z",
        "client": dict(person.client),
        "answers": given,
    }
    return signed(content)


def write_runs(
    root: Path,
    *,
    prompts: tuple[str, ...],
    columns: tuple[str, ...],
    seeds: tuple[int, ...] = (0,),
    size: int = 16,
) -> Path:
    """`root`/runs with a finished run of every prompt, column and seed. Returns `root`."""
    rng = np.random.default_rng(0)
    for p, text in enumerate(prompts):
        for column in columns:
            for seed in seeds:
                record = synthetic.run_record(text, column, seed)
                tail = Path("geometry", column, record["prompt_id"], f"seed{seed}", "nerf")
                scene = synthetic.balls(p, 0.05 * (1 + columns.index(column)), rng)
                synthetic.write_run(root / "runs" / tail, scene, record, size=size)
    return root


def signed(content: Mapping[str, Any]) -> dict[str, Any]:
    """`content` with the digest that the page would give it."""
    plain = {name: copy.deepcopy(v) for name, v in content.items() if name != "digest"}
    return plain | {"digest": artifacts.digest(plain)}


def write(folder: Path, document: Mapping[str, Any]) -> Path:
    """The document as a file under the page's name for it."""
    name = f"{document['study_id']}-form{document['form']}-{document['participant']}.json"
    return artifacts.write_json(folder / name, document)
