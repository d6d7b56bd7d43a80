"""Prompt sets: read from YAML, checked on reading, never altered.

A set is one file in `prompts/sets/`: a mapping with `name`, `source`, `licence`, `note` and
`prompts`. A prompt is a string or a mapping with `text` and, optionally, `tags` and the mesh it
describes: the `uid` of an object of Objaverse, or `mesh` with its `file` (GLB, OBJ or PLY; a
relative path starts at the repository's root) and, where they are not glTF's, the file's axes `up`
and `front` (x to -z) and its `place` ("keep" leaves a mesh in the unit ball where it is).

Texts are kept verbatim, odd spaces and spellings included: they are quoted from published
evaluations. Wherever a file name is needed, `prompt_id` stands for the text.
"""

import functools
import hashlib
import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

SETS = Path(__file__).parent / "sets"
MAX_CHARACTERS = 400
SLUG_CHARACTERS = 40
AXES = ("x", "y", "z", "-x", "-y", "-z")
PLACES = ("fit", "keep")
ID_PATTERN = r"[a-z0-9-]{1,40}-[0-9a-f]{8}"

# Joiners occur inside emoji and in several scripts; every other format character is invisible or
# reorders the text on the page.
_ALLOWED_FORMAT = {"\u200c", "\u200d"}
_FORBIDDEN_CATEGORIES = {"Cc", "Cf", "Cs", "Zl", "Zp"}


class PromptError(ValueError):
    """A prompt or a prompt set cannot be used; the message names the file, the value and why."""


@dataclass(frozen=True)
class MeshFile:
    """A mesh to be textured, and how it lies in its file; the defaults are glTF's."""

    file: str
    up: str = "y"
    front: str = "z"
    place: str = "fit"


@dataclass(frozen=True)
class Prompt:
    """One text, verbatim, with the name that stands for it in paths and the mesh it describes."""

    text: str
    prompt_id: str
    tags: tuple[str, ...] = ()
    uid: str | None = None
    mesh: MeshFile | None = None


@dataclass(frozen=True)
class PromptSet:
    """Distinct prompts in the order of their file, with where they come from."""

    name: str
    source: str
    licence: str
    note: str
    prompts: tuple[Prompt, ...]


def prompt_id(text: str) -> str:
    """A file name for the text: at most 40 of [a-z0-9-], a hyphen, 8 hex digits of its sha256."""
    slug = re.sub(r"[^a-z0-9]+", "-", text.lower())[:SLUG_CHARACTERS].strip("-") or "prompt"
    return f"{slug}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def set_names() -> list[str]:
    """The names `load_set` knows, sorted."""
    return sorted(path.stem for path in SETS.glob("*.yaml"))


@functools.lru_cache(maxsize=32)  # a workflow asks for the same set for every job
def load_set(name: str) -> PromptSet:
    """The set of that name. PromptError if there is none, or if its file is not in order."""
    if name not in set_names():
        raise PromptError(f"unknown prompt set {name!r}: choose one of {', '.join(set_names())}")
    return load_file(SETS / f"{name}.yaml")


def load_file(path: Path) -> PromptSet:
    """The set in a YAML file. PromptError names the file and what to change in it."""
    content = _mapping(path)
    header = {key: _header(path, content, key) for key in ("name", "source", "licence", "note")}
    if header["name"] != path.stem:
        raise PromptError(f"{path}: 'name' is {header['name']!r}, but the file is {path.stem!r}")
    items = content.pop("prompts", None)
    if content:
        raise PromptError(f"{path}: unknown key {sorted(map(str, content))[0]!r}")
    if not isinstance(items, list) or not items:
        raise PromptError(f"{path}: 'prompts' must be a list of at least one prompt")
    prompts = tuple(_prompt(path, item) for item in items)
    check_distinct(prompts, where=str(path))
    return PromptSet(**header, prompts=prompts)


def check_text(text: str, *, where: str) -> None:
    """Returns if the text can be used as a prompt; PromptError says why it cannot."""
    if not text.strip():
        raise PromptError(f"{where}: empty prompt")
    if len(text) > MAX_CHARACTERS:
        raise PromptError(
            f"{where}: a prompt has {len(text)} characters, at most {MAX_CHARACTERS} are allowed: "
            f"{text[:40]!r}..."
        )
    for character in text:
        category = unicodedata.category(character)
        if category in _FORBIDDEN_CATEGORIES and character not in _ALLOWED_FORMAT:
            raise PromptError(
                f"{where}: control character U+{ord(character):04X} in prompt {text[:40]!r}"
            )


def check_distinct(prompts: Iterable[Prompt], *, where: str) -> None:
    """Returns if no two prompts are equal but for case, and no two share an id."""
    by_text: dict[str, Prompt] = {}
    by_id: dict[str, Prompt] = {}
    for prompt in prompts:
        text = prompt.text.casefold()
        if text in by_text:
            raise PromptError(
                f"{where}: prompts {by_text[text].text!r} and {prompt.text!r} are equal but for "
                "case: remove one"
            )
        if prompt.prompt_id in by_id:
            raise PromptError(
                f"{where}: prompts {by_id[prompt.prompt_id].text!r} and {prompt.text!r} share the "
                f"id {prompt.prompt_id!r}: reword one"
            )
        by_text[text] = by_id[prompt.prompt_id] = prompt


def check_length(prompts: Iterable[Prompt], count_tokens: Callable[[str], int], limit: int) -> None:
    """Returns if every prompt fits the tokenizer; a longer one would be cut off silently.

    `count_tokens` counts what the tokenizer makes of a text, special tokens included; `limit` is
    the most it passes on (77 for CLIP and for the benchmark's T5).
    """
    for prompt in prompts:
        tokens = count_tokens(prompt.text)
        if tokens > limit:
            raise PromptError(
                f"prompt {prompt.text[:40]!r}... has {tokens} tokens, the tokenizer keeps {limit}: "
                "shorten it"
            )


def _mapping(path: Path) -> dict[Any, Any]:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise PromptError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise PromptError(f"{path}: is not UTF-8 text: {error}") from error
    except yaml.YAMLError as error:
        raise PromptError(f"{path}: is not valid YAML: {error}") from error
    if not isinstance(content, dict):
        raise PromptError(f"{path}: must be a mapping with name, source, licence, note, prompts")
    return content


def _header(path: Path, content: dict[Any, Any], key: str) -> str:
    value = content.pop(key, None)
    if not isinstance(value, str) or not value.strip():
        raise PromptError(f"{path}: key {key!r} must be a text that is not empty, not {value!r}")
    return value.strip()


def _prompt(path: Path, item: object) -> Prompt:
    fields = {"text": item} if isinstance(item, str) else item
    if not isinstance(fields, dict) or not set(fields) <= {"text", "tags", "uid", "mesh"}:
        raise PromptError(
            f"{path}: a prompt must be a text or a mapping of text, tags, uid, mesh, not {item!r}; "
            "a text with a colon or a number needs quotes"
        )
    text, tags, uid = fields.get("text"), fields.get("tags", []), fields.get("uid")
    if not isinstance(text, str):
        raise PromptError(f"{path}: 'text' must be a text, not {text!r}: put it in quotes")
    if not _texts(tags):
        raise PromptError(f"{path}: 'tags' of {text!r} must be a list of texts, not {tags!r}")
    if uid is not None and not (isinstance(uid, str) and re.fullmatch("[0-9a-f]{32}", uid)):
        raise PromptError(
            f"{path}: 'uid' of {text!r} must be 32 hex digits in quotes, as Objaverse names its "
            f"objects, not {uid!r}"
        )
    if uid is not None and "mesh" in fields:
        raise PromptError(f"{path}: {text!r} has both 'uid' and 'mesh': remove one")
    mesh = _mesh(f"{path}: 'mesh' of {text!r}", fields["mesh"]) if "mesh" in fields else None
    check_text(text, where=str(path))
    return Prompt(text, prompt_id(text), tuple(tags), uid, mesh)


def _mesh(where: str, fields: object) -> MeshFile:
    """The mesh of one prompt. PromptError names the key and what it may hold."""
    if not isinstance(fields, dict) or not set(fields) <= {"file", "up", "front", "place"}:
        raise PromptError(f"{where} must be a mapping of file, up, front, place, not {fields!r}")
    if not isinstance(fields.get("file"), str) or not fields["file"].strip():
        raise PromptError(f"{where}: 'file' must be a path, not {fields.get('file')!r}")
    found = MeshFile(**fields)
    for key, value, known in (
        ("up", found.up, AXES),
        ("front", found.front, AXES),
        ("place", found.place, PLACES),
    ):
        if value not in known:
            raise PromptError(f"{where}: {key!r} is {value!r}, not one of {', '.join(known)}")
    if found.up[-1] == found.front[-1]:
        raise PromptError(f"{where}: up {found.up!r} and front {found.front!r} are one axis")
    return found


def _texts(value: object) -> bool:
    return (
        isinstance(value, Sequence)
        and not isinstance(value, str)
        and all(isinstance(item, str) for item in value)
    )
