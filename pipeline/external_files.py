"""Where another system's results lie: the description, checked, and each prompt's files.

A prompt's files are found by a pattern. One file never stands for two things: not for two prompts,
and not for two views of one. A text beside the files may say whose they are, and is believed over
the file's name.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jsonschema
import yaml

from pipeline.artifacts import ArtifactError, sha256
from pipeline.cameras import FOUR_VIEWS
from pipeline.external_pictures import Refused
from prompts.load import Prompt

SCHEMA = Path(__file__).with_name("external_schema.yaml")
SEEN = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".mp4", ".webm", ".mov", ".avi", ".glb")
OBJECT = "object"  # what a file is of that shows more than one view

Files = dict[str, Path]


@dataclass(frozen=True)
class Source:
    """A description and the folder it speaks of."""

    spec: Mapping[str, Any]
    folder: Path

    def words(self, prompt: Prompt) -> dict[str, str]:
        """What the patterns may say of a prompt."""
        slug = "_".join(prompt.text.lower().replace(",", " ").split())
        name = self.spec.get("names", {}).get(prompt.text, "")
        return {"text": prompt.text, "prompt_id": prompt.prompt_id, "slug": slug, "name": name}

    def named(self, prompt: Prompt) -> Files:
        """Where the prompt's files should lie, by what they are for. Raises Refused."""
        words, pattern = self.words(prompt), self.spec["file"]
        if "{name}" in pattern and not words["name"]:
            raise Refused("no file: `names` does not hold this prompt")
        views = self.spec.get("views")
        if views is None:
            return {OBJECT: self.path(pattern, words)}
        return {v: self.path(pattern, {**words, "view": views[v]}) for v in FOUR_VIEWS}

    def files(self, prompt: Prompt) -> Files:
        """The prompt's files. Raises Refused for one that is missing or another prompt's."""
        found = self.named(prompt)
        missing = [view for view, path in found.items() if not path.is_file()]
        if missing:
            names = ", ".join(str(found[view].relative_to(self.folder)) for view in missing)
            of = "" if missing == [OBJECT] else f"missing {', '.join(missing)}: "
            raise Refused(f"{of}no file {names}")
        if "prompt_file" in self.spec:
            self.check_text(self.path(self.spec["prompt_file"], self.words(prompt)), prompt)
        return found

    def path(self, pattern: str, words: Mapping[str, str]) -> Path:
        """The file that `pattern` names. Raises ArtifactError for an unknown word or a way out."""
        try:
            path = (self.folder / pattern.format_map(dict(words))).resolve()
        except (KeyError, ValueError, IndexError) as error:
            known = ", ".join(f"{{{word}}}" for word in words)
            raise ArtifactError(f"{pattern!r}: {error}; known words: {known}") from error
        if not path.is_relative_to(self.folder):
            raise Refused(f"{pattern!r} leads out of {self.folder}")
        return path

    def check_text(self, path: Path, prompt: Prompt) -> None:
        """Raises Refused unless the text in `path` is the prompt's."""
        if not path.is_file():
            raise Refused(f"no file {path.relative_to(self.folder)}, which should hold the prompt")
        text = path.read_text(encoding="utf-8", errors="replace").strip()
        if text != prompt.text:
            raise Refused(f"files of another prompt: {path.name} says {text[:80]!r}")


def read_source(path: Path) -> Source:
    """The description in `path`. Raises ArtifactError where it is none or its folder is missing."""
    try:
        spec = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ArtifactError(f"{path}: no such file; check external: in the preset") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ArtifactError(f"{path}: not YAML ({error})") from error
    schema = yaml.safe_load(SCHEMA.read_text(encoding="utf-8"))
    problems = sorted(
        jsonschema.Draft202012Validator(schema).iter_errors(spec), key=lambda e: str(e.path)
    )
    if problems:
        where = ".".join(map(str, problems[0].absolute_path)) or "the top level"
        raise ArtifactError(
            f"{path}: {where}: {problems[0].message}; docs/external_results.md has an example"
        )
    if problem := _no_part(spec.get("crop", {})):
        raise ArtifactError(f"{path}: crop: {problem}; docs/external_results.md has an example")
    folder = (path.parent / spec["folder"]).resolve()
    if not folder.is_dir():
        raise ArtifactError(f"{path}: folder {folder} does not exist")
    return Source(spec, folder)


def _no_part(crop: Mapping[str, Any]) -> str:
    """Why `crop` is no part of any picture; "" where it is one."""
    if "panels" in crop:
        within = crop["panel"] < crop["panels"]
        return "" if within else f"panel {crop['panel']} of {crop['panels']}: the first one is 0"
    pairs = (("left", "right"), ("top", "bottom")) if crop else ()
    wrong = [
        f"{a} {crop[a]} must be less than {b} {crop[b]}" for a, b in pairs if crop[a] >= crop[b]
    ]
    return ", ".join(wrong)


def made_from(source: Source, asked: Sequence[Prompt]) -> list[Path]:
    """Every file of these prompts that is there, refused ones too: what the column is made from."""
    found: set[Path] = set()
    for prompt in asked:
        with suppress(Refused):
            found |= set(source.named(prompt).values())
        if "prompt_file" in source.spec:
            with suppress(Refused):
                found.add(source.path(source.spec["prompt_file"], source.words(prompt)))
    return sorted(path for path in found if path.is_file())


def looked_up(source: Source, asked: Sequence[Prompt]) -> dict[str, Files | Refused]:
    """Each prompt's files, or why they are refused; one file never stands for two things."""
    found: dict[str, Files | Refused] = {}
    for prompt in asked:
        try:
            found[prompt.text] = source.files(prompt)
        except Refused as reason:
            found[prompt.text] = reason
    files = {text: one for text, one in found.items() if isinstance(one, dict)}
    sums = {text: [sha256(path) for path in one.values()] for text, one in files.items()}
    owners = Counter(value for values in sums.values() for value in set(values))
    for text, values in sums.items():
        shared = [p for p, v in zip(files[text].values(), values, strict=True) if owners[v] > 1]
        if len(set(values)) < len(values):
            found[text] = Refused("two views are one file's bytes: one of them is missing")
        elif shared:
            why = f"{shared[0].name} has the bytes of another prompt's file"
            found[text] = Refused(f"files of another prompt: {why}")
    return found


def strays(source: Source, asked: Sequence[Prompt]) -> list[str]:
    """Pictures, videos and meshes in the folder that the description gives to no prompt."""
    known: set[Path] = set()
    for prompt in asked:
        with suppress(Refused):
            known |= set(source.named(prompt).values())
    every = (path for path in source.folder.rglob("*") if path.suffix.lower() in SEEN)
    return sorted(str(path.relative_to(source.folder)) for path in every if path not in known)
