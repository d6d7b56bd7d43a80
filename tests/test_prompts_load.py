import hashlib
import inspect
import re
from collections import Counter
from pathlib import Path

import pytest

from pipeline.meshes import orient
from pipeline.meshes.load import load_mesh
from prompts import load
from prompts.load import MeshFile, Prompt, PromptError, load_file, load_set, prompt_id, set_names

SIZES = {
    "csd_texture20": 20,
    "dreamfusion415": 415,
    "dreamfusion81": 81,
    "objaverse20": 20,
    "toy18": 18,
    "toy6": 6,
    "toy81": 81,
    "toy_blobs": 9,
    "toy_texture4": 4,
}
HEADER = "name: mine\nsource: s\nlicence: l\nnote: n\n"


def written(folder: Path, prompts: str, header: str = HEADER) -> Path:
    path = folder / "mine.yaml"
    path.write_text(header + prompts, encoding="utf-8")
    return path


def texts(name: str) -> list[str]:
    return [prompt.text for prompt in load_set(name).prompts]


def test_every_set_loads_with_its_size_source_and_licence():
    assert {name: len(load_set(name).prompts) for name in set_names()} == SIZES
    for name in set_names():
        prompts = load_set(name)
        assert prompts.name == name
        assert len(prompts.source) > 20
        assert len(prompts.licence) > 10


@pytest.mark.parametrize(
    ("name", "digest"),
    [
        # sha256 of the lists as first taken from their sources, one prompt a line: nothing was
        # reordered, trimmed or respelt since.
        ("dreamfusion81", "51e714382d2ba22eff0b28706eab02f321f7b83d7bf42c26db95168b55f51b82"),
        ("dreamfusion415", "af8b2f275da052a2920bac979188a718536dd92634341511b4d37ea81f8435ab"),
        ("csd_texture20", "1a186432ddf0501ea123ee421221afef60772311dba1475973dac05729dbd612"),
    ],
)
def test_published_sets_are_verbatim_and_in_order(name, digest):
    lines = "".join(f"{text}\n" for text in texts(name))
    assert hashlib.sha256(lines.encode()).hexdigest() == digest


def test_the_81_are_among_the_415():
    assert set(texts("dreamfusion81")) <= set(texts("dreamfusion415"))


def test_odd_spaces_of_the_gallery_survive():
    assert "  Coffee cup with many holes" in texts("dreamfusion415")
    assert "A zoomed out DSLR photo of   phoenix made of splashing water " in texts(
        "dreamfusion415"
    )


def test_the_directional_split_is_tagged_and_said_to_be_ours():
    prompts = load_set("dreamfusion81")
    tagged = [p.text for p in prompts.prompts if p.tags == ("directional",)]
    assert len(tagged) == 21
    assert "a snail on a leaf" in tagged
    assert "a ficus planted in a pot" not in tagged
    assert "our split" in prompts.note


def test_objaverse_prompts_have_distinct_uids_and_the_other_sets_none():
    uids = [prompt.uid for prompt in load_set("objaverse20").prompts]
    assert len(set(uids)) == 20
    assert all(re.fullmatch(r"[0-9a-f]{32}", uid) for uid in uids)
    assert all(
        p.uid is None for name in set(SIZES) - {"objaverse20"} for p in load_set(name).prompts
    )


def test_toy18_has_each_shape_and_each_colour_twice():
    words = [text.split() for text in texts("toy18")]
    assert set(texts("toy18")) <= set(texts("toy81"))
    for position in (1, 2):
        assert sorted(Counter(word[position] for word in words).values()) == [2] * 9


def test_toy81_is_the_grid_of_shapes_and_colours():
    words = [text.split() for text in texts("toy81")]
    assert {len(w) for w in words} == {3}
    assert len({w[1] for w in words}) == len({w[2] for w in words}) == 9
    assert all((w[0] == "an") == (w[1][0] in "aeiou") for w in words)
    assert set(texts("toy6")) <= set(texts("toy81"))
    assert not set(texts("toy_blobs")) & set(texts("toy81"))


def test_an_unknown_set_is_an_error_that_lists_the_known_ones():
    with pytest.raises(PromptError, match=r"'toy7'.*dreamfusion81.*toy6"):
        load_set("toy7")
    with pytest.raises(PromptError, match="unknown prompt set"):
        load_set("../sets/toy6")


# --- ids -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "a red car",
        "a \"quoted\" 'car'",
        "a/b\\c",
        "../../etc/passwd",
        "<script>alert(1)</script>",
        "🚗🚙",
        "ein Käfer",
        "a" * 400,
        "-- --",
        "CON",
    ],
)
def test_ids_are_safe_file_names(text):
    assert re.fullmatch(load.ID_PATTERN, prompt_id(text))


def test_ids_differ_wherever_texts_do_and_stay_the_same():
    assert len({prompt_id(text) for text in texts("dreamfusion415")}) == 415
    assert prompt_id("a red car") != prompt_id("a red car ")
    assert prompt_id("a red car") == "a-red-car-4ff7ca0b"  # results on disk depend on it


def test_ids_of_all_sets_match_the_wildcard_pattern():
    for name in set_names():
        assert all(re.fullmatch(load.ID_PATTERN, p.prompt_id) for p in load_set(name).prompts)


# --- what the loader takes -----------------------------------------------------------------------


def test_strings_and_mappings_are_prompts(tmp_path):
    uid = "0123456789abcdef" * 2
    path = written(tmp_path, f'prompts:\n  - a\n  - {{text: "b: c", tags: [x, y], uid: "{uid}"}}\n')
    first, second = load_file(path).prompts
    assert first == Prompt("a", prompt_id("a"), (), None)
    assert second == Prompt("b: c", prompt_id("b: c"), ("x", "y"), uid)


def test_a_prompt_names_its_mesh_and_how_it_lies(tmp_path):
    full = "{file: ../my chair.obj, up: z, front: -y, place: keep}"
    path = written(
        tmp_path, f"prompts: [{{text: a, mesh: {{file: b.glb}}}}, {{text: c, mesh: {full}}}]\n"
    )
    first, second = load_file(path).prompts
    assert first.mesh == MeshFile("b.glb", up="y", front="z", place="fit")
    assert second.mesh == MeshFile("../my chair.obj", up="z", front="-y", place="keep")


def test_axes_and_places_are_those_that_meshes_are_read_with():
    """The loader imports nothing of the pipeline, so it holds its own lists."""
    assert tuple(orient.AXES) == load.AXES
    assert set(orient.PLACES) == set(load.PLACES)
    defaults = inspect.signature(load_mesh).parameters
    mesh = MeshFile("a.glb")
    assert all(getattr(mesh, k) == defaults[k].default for k in ("up", "front", "place"))


@pytest.mark.parametrize(
    "text",
    ["<script>", "a\\b/c", 'it\'s \\"so\\"', "👩‍🚀 on the moon", "x" * 400, "Ünïcödé", "日本の城"],
)
def test_unusual_texts_are_taken(tmp_path, text):
    plain = text.replace('\\"', '"').replace("\\b", "b")
    path = written(tmp_path, f'prompts: ["{text.replace(chr(92) + "b", "b")}"]\n')
    assert load_file(path).prompts[0].text == plain


# --- what it refuses -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("prompts", "message"),
    [
        ("prompts: [a red car, A Red CAR]\n", "'a red car' and 'A Red CAR' are equal but for case"),
        ("prompts: [STRASSE, Straße]\n", "equal but for case"),
        ('prompts: [""]\n', "empty prompt"),
        ('prompts: ["  "]\n', "empty prompt"),
        (f"prompts: [{'x' * 401}]\n", "401 characters, at most 400"),
        (f"prompts: [{'word ' * 300}]\n", "at most 400"),
        ('prompts: ["a\\tb"]\n', "control character U\\+0009"),
        ('prompts: ["a\\nb"]\n', "control character U\\+000A"),
        ('prompts: ["a\\0b"]\n', "control character U\\+0000"),
        ('prompts: ["a\\u202Eb"]\n', "control character U\\+202E"),
        ('prompts: ["a\\u2028b"]\n', "control character U\\+2028"),
        ("prompts: []\n", "at least one prompt"),
        ("prompts: a red car\n", "at least one prompt"),
        ("", "at least one prompt"),
        ("prompts: [12]\n", "not 12; a text with a colon or a number needs quotes"),
        ("prompts: [a: b]\n", "needs quotes"),
        ("prompts: [{text: 12}]\n", "'text' must be a text, not 12"),
        ("prompts: [{tags: [x]}]\n", "'text' must be a text, not None"),
        ("prompts: [{text: a, tags: x}]\n", "'tags' of 'a' must be a list"),
        ("prompts: [{text: a, tags: [1]}]\n", "'tags' of 'a' must be a list"),
        ("prompts: [{text: a, uid: 12}]\n", "'uid' of 'a' must be 32 hex digits"),
        ('prompts: [{text: a, uid: "12"}]\n', "must be 32 hex digits .* not '12'"),
        (f"prompts: [{{text: a, uid: {'a' * 32}, mesh: {{file: b}}}}]\n", "both 'uid' and 'mesh'"),
        ("prompts: [{text: a, mesh: b.glb}]\n", "'mesh' of 'a' must be a mapping"),
        ("prompts: [{text: a, mesh: {}}]\n", "'file' must be a path, not None"),
        ("prompts: [{text: a, mesh: {file: b, scale: 2}}]\n", "mapping of file, up, front, place"),
        ("prompts: [{text: a, mesh: {file: b, up: w}}]\n", "'up' is 'w', not one of x, y, z, -x"),
        ("prompts: [{text: a, mesh: {file: b, place: by}}]\n", "'place' is 'by', not one of fit"),
        ("prompts: [{text: a, mesh: {file: b, up: -z}}]\n", "up '-z' and front 'z' are one axis"),
        ("prompts: [a]\nextra: 1\n", "unknown key 'extra'"),
        ("prompts: [a\n", "not valid YAML"),
        ("prompts: [!!python/object/apply:os.getcwd []]\n", "not valid YAML"),
    ],
)
def test_refused_with_the_reason_and_the_file(tmp_path, prompts, message):
    path = written(tmp_path, prompts)
    with pytest.raises(PromptError, match=message) as error:
        load_file(path)
    assert str(path) in str(error.value)


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("source: s\nlicence: l\nnote: n\n", "'name' must be a text"),
        (HEADER.replace("name: mine", "name: other"), "'name' is 'other', but the file is 'mine'"),
        (HEADER.replace("licence: l", "licence:"), "'licence' must be a text"),
        (HEADER.replace("source: s", "source: [s]"), "'source' must be a text"),
        ("- a\n", "YAML|must be a mapping"),
    ],
)
def test_headers_are_complete(tmp_path, header, message):
    with pytest.raises(PromptError, match=message):
        load_file(written(tmp_path, "prompts: [a]\n", header))


def test_files_that_are_not_text_mappings(tmp_path):
    with pytest.raises(PromptError, match=r"mine\.yaml: cannot be read"):
        load_file(tmp_path / "mine.yaml")
    path = tmp_path / "mine.yaml"
    path.write_bytes(b"name: \xff\xfe\n")
    with pytest.raises(PromptError, match="UTF-8"):
        load_file(path)
    path.write_text("- a\n- b\n")
    with pytest.raises(PromptError, match="must be a mapping"):
        load_file(path)


def test_lone_surrogates_are_control_characters():
    with pytest.raises(PromptError, match=r"U\+D800"):
        load.check_text("a\ud800b", where="here")


def test_colliding_ids_are_refused():
    twins = [Prompt("a car", "a-12345678"), Prompt("a cart", "a-12345678")]
    with pytest.raises(PromptError, match="'a car' and 'a cart' share the id 'a-12345678'"):
        load.check_distinct(twins, where="here")


def test_the_same_prompt_twice_is_refused():
    prompt = Prompt("a car", prompt_id("a car"))
    with pytest.raises(PromptError, match="remove one"):
        load.check_distinct([prompt, prompt], where="here")


def test_longer_than_the_tokenizer_is_refused():
    prompts = [Prompt(text, prompt_id(text)) for text in ("one two three", "one two three four")]
    load.check_length(prompts, lambda text: len(text.split()), 4)
    with pytest.raises(PromptError, match=r"'one two three four'.* has 4 tokens, .* keeps 3"):
        load.check_length(prompts, lambda text: len(text.split()), 3)
