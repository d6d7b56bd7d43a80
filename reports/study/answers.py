"""What came back, file by file: accepted as it stands, or refused with one reason.

A file's digest tells damage and edits by hand; it is no signature, and whoever recomputes it can
write what they like. Of two files of one participant or one form, the one finished first counts,
whatever the order in which they are named.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.artifacts import ArtifactError, check_schema, digest, read_json
from reports.records import ReportError
from reports.study.texts import SAME

NUMBERS = ("rt_ms", "away_ms", "at_ms", "revised")
INPUTS = ("keyboard", "pointer")


@dataclass(frozen=True)
class Sheet:
    """One participant's accepted answers; `form` counts from 1."""

    path: Path
    participant: str
    form: int
    finished: str
    answers: Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Refusal:
    """A file that does not count, and why."""

    path: Path
    reason: str


def read_study(path: Path) -> dict[str, Any]:
    """The frozen study. Raises ReportError when it is none, or no longer what was frozen."""
    study = _document(path, "study")
    content = {name: value for name, value in study.items() if name != "study_sha256"}
    if digest(content) != study.get("study_sha256"):
        raise ReportError(f"{path}: changed since it was frozen; take the original file")
    return study


def read_key(path: Path, study: Mapping[str, Any]) -> dict[str, Any]:
    """The key that belongs to `study`. Raises ReportError for another, or a changed one."""
    key = _document(path, "study key")
    if digest(key) != study["key_sha256"]:
        raise ReportError(f"{path}: not the key that {study['study_id']} was frozen with")
    return key


def _document(path: Path, kind: str) -> dict[str, Any]:
    found = read_json(path)
    if not isinstance(found, dict) or found.get("kind") != kind:
        raise ReportError(f"{path}: not a {kind}; see `python -m reports.study build`")
    check_schema(found.get("schema_version"), path)
    return found


def read_answers(
    paths: Sequence[Path], study: Mapping[str, Any]
) -> tuple[list[Sheet], list[Refusal]]:
    """(accepted sheets by form, refusals by file name): every path is in exactly one of them."""
    sheets: list[Sheet] = []
    refusals: list[Refusal] = []
    for path in sorted(paths):
        found = read_sheet(path, study)
        if isinstance(found, Sheet):
            sheets.append(found)
        else:
            refusals.append(Refusal(path, found))
    kept: list[Sheet] = []
    for sheet in sorted(sheets, key=lambda s: (s.finished, str(s.path))):
        if reason := duplicate(sheet, kept):
            refusals.append(Refusal(sheet.path, reason))
        else:
            kept.append(sheet)
    return sorted(kept, key=lambda s: s.form), sorted(refusals, key=lambda r: str(r.path))


def duplicate(sheet: Sheet, kept: Sequence[Sheet]) -> str:
    """Why `sheet` is a second one, or ""."""
    for other in kept:
        if sheet.participant == other.participant:
            return f"duplicated: participant {sheet.participant} already in {other.path.name}"
        if sheet.form == other.form:
            return f"duplicated: form {sheet.form} was finished earlier, in {other.path.name}"
    return ""


def read_sheet(path: Path, study: Mapping[str, Any]) -> Sheet | str:
    """The accepted sheet in `path`, or the reason why it is refused."""
    try:
        found = read_json(path)
    except (ArtifactError, OSError) as error:
        return unreadable(error, path)
    if not isinstance(found, dict) or found.get("kind") != "study answers":
        return "no answers of a study"
    try:
        check_schema(str(found.get("schema_version")), path)
    except ArtifactError as error:
        return unreadable(error, path)
    if found.get("study_id") != study["study_id"]:
        return f"foreign: of study {found.get('study_id')}, not {study['study_id']}"
    if found.get("study_sha256") != study["study_sha256"]:
        return f"foreign: of another version of {study['study_id']}"
    reason = altered(found) or ill_formed(found, study) or incomplete(found, study)
    if reason:
        return reason
    form = study["forms"][found["form"] - 1]
    if reason := impossible(found["answers"], form, study):
        return reason
    return Sheet(path, found["participant"], found["form"], found["finished"], found["answers"])


def unreadable(error: Exception, path: Path) -> str:
    """The error without its file, and without the remedy for files that can be made again."""
    return f"unreadable: {str(error).removeprefix(f'{path}: ').split(';')[0]}"


def altered(found: Mapping[str, Any]) -> str:
    """Why the file is not what the page wrote, or ""."""
    content = {name: value for name, value in found.items() if name != "digest"}
    return "" if digest(content) == found.get("digest") else "tampered: its digest does not fit"


def ill_formed(found: Mapping[str, Any], study: Mapping[str, Any]) -> str:
    """Why the frame around the answers makes no sense, or ""."""
    form, count = found.get("form"), len(study["forms"])
    if not _whole(form) or not 1 <= form <= count:  # type: ignore[operator]
        return f"impossible: form {form} of {count}"
    if not isinstance(found.get("participant"), str) or not found["participant"]:
        return "impossible: no participant code"
    answers = found.get("answers")
    if not isinstance(answers, list) or not all(isinstance(a, dict) for a in answers):
        return "impossible: its answers are no list"
    return ""


def incomplete(found: Mapping[str, Any], study: Mapping[str, Any]) -> str:
    """How many questions are unanswered, or ""."""
    wanted = len(study["forms"][found["form"] - 1]) * len(study["questions"])
    given = len(found["answers"])
    if given < wanted:
        return f"incomplete: {given} of {wanted} questions answered"
    return "" if isinstance(found.get("finished"), str) else "incomplete: not finished"


def impossible(
    answers: Sequence[Mapping[str, Any]],
    form: Sequence[Mapping[str, Any]],
    study: Mapping[str, Any],
) -> str:
    """The first answer that this form's page cannot have written, or ""."""
    asked = [(trial, question["id"]) for trial in form for question in study["questions"]]
    if len(answers) > len(asked):
        return f"impossible: {len(answers)} answers to {len(asked)} questions"
    for number, (answer, (trial, question)) in enumerate(zip(answers, asked, strict=True), 1):
        where = f"impossible: answer {number}"
        if (answer.get("trial"), answer.get("question")) != (trial["id"], question):
            return f"{where} is to another question than the form's"
        if answer.get("shown") != trial["shown"]:
            return f"{where} names pictures that the form does not show there"
        allowed = [*trial["shown"], *([SAME] if study["allow_same"] else [])]
        if answer.get("choice") not in allowed:
            return f"{where} chooses what was not on offer"
        if answer.get("input") not in INPUTS:
            return f"{where} was given by neither keyboard nor pointer"
        for name in NUMBERS:
            if not _whole(answer.get(name)) or answer[name] < 0:
                return f"{where} has {name} {answer.get(name)!r}"
    return ""


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
