"""Models that are missing, gated, broken or of another kind stop with the file and the remedy."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import huggingface_hub
import pytest
import tiny_models as tiny
import torch

from pipeline.artifacts import ArtifactError
from pipeline.guidance.load import load_guidance, models
from pipeline.guidance.pretrained import identity, resolve, with_parts

COMMIT = "0123456789abcdef0123456789abcdef01234567"
WEIGHTS = "diffusion_pytorch_model.safetensors"


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    tiny.pixel_folder(folder, prediction="v_prediction")
    weights = folder / "unet" / WEIGHTS
    (folder / "unet" / WEIGHTS.replace(".safe", ".fp16.safe")).write_bytes(weights.read_bytes())
    (folder / "unet" / "diffusion_pytorch_model.bin").write_bytes(b"a pickle")
    return folder


@pytest.fixture
def broken(model, tmp_path):
    return tiny.copied(model, tmp_path / "model")


def load(path):
    return load_guidance(tiny.spec("deepfloyd", path), bank=None, prompt="", device="cpu")


class Hub(BaseHTTPRequestHandler):
    """As much of the hub as a download asks for; `asked` lists the files that were fetched."""

    def do_GET(self):
        self.server.asked.append(self.path)
        parts = self.path.partition("?")[0].strip("/").split("/")
        if parts[0] == "api":
            return self._describe("/".join(parts[2:4]), parts[4])
        if parts[1] == "gated":
            return self._answer(403, b"", "GatedRepo")
        return self._answer(200, self.server.folder.joinpath(*parts[4:]).read_bytes())

    do_HEAD = do_GET

    def _describe(self, name, what):
        if name not in ("owner/copy", "owner/gated"):
            return self._answer(404, b"", "RepoNotFound")
        folder = self.server.folder
        files = [f for f in sorted(folder.rglob("*")) if f.is_file()]
        entry = {"type": "file", "oid": "0" * 40}
        tree = [
            {**entry, "path": str(f.relative_to(folder)), "size": f.stat().st_size} for f in files
        ]
        info = {"id": name, "sha": COMMIT, "siblings": []}
        return self._answer(200, json.dumps(tree if what == "tree" else info).encode())

    def _answer(self, status, body, code=""):
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", f'"{len(body)}-{abs(hash(body))}"')
        self.send_header("X-Repo-Commit", COMMIT)
        if code:
            self.send_header("X-Error-Code", code)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture
def hub(model, tmp_path, monkeypatch):
    """A hub on this machine with one open model and a gated one, and an empty cache."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    server.folder, server.asked = model, []
    threading.Thread(target=server.serve_forever, daemon=True).start()
    constants = huggingface_hub.constants
    address = f"http://127.0.0.1:{server.server_port}"
    files = address + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "ENDPOINT", address)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", files)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    yield server
    server.shutdown()
    server.server_close()


def from_hub(*names, variant=None, **extra):
    return {"name": "tiny", "kind": "deepfloyd", "hub": list(names), "variant": variant, **extra}


def test_the_first_model_that_there_is_is_taken_at_a_known_commit(hub):
    spec = from_hub("owner/gone", "owner/copy", dtype="fp32")
    prior = load_guidance(spec, bank=None, prompt="", device="cpu")
    assert models(prior) == {"owner/copy": f"owner/copy@{COMMIT}"}
    rows = prior.embed(["a red car"])
    assert torch.equal(rows, load(hub.folder).embed(["a red car"]))
    fetched = {path.partition("resolve/")[2].partition("/")[2] for path in hub.asked} - {""}
    assert f"unet/{WEIGHTS}" in fetched
    assert not [name for name in fetched if ".fp16." in name or name.endswith(".bin")]


def test_only_the_asked_parts_and_variant_are_fetched(hub):
    source = resolve(from_hub("owner/copy", variant="fp16"), ["unet"])
    assert [f.name for f in sorted((source.path / "unet").glob("*.safetensors"))] == [
        "diffusion_pytorch_model.fp16.safetensors"
    ]
    assert not (source.path / "tokenizer").exists()
    again = with_parts(source, ["tokenizer"])
    assert again.path == source.path
    assert (source.path / "tokenizer" / "tokenizer.json").exists()


def test_a_revision_can_be_named(hub):
    source = resolve(from_hub(f"owner/copy@{COMMIT}"), ["scheduler"])
    assert (source.revision, identity(source, ["unet"])) == (COMMIT, f"owner/copy@{COMMIT}")
    assert not [path for path in hub.asked if "/revision/main" in path]


def test_a_gated_model_names_its_page_and_no_copy_is_taken(hub):
    page = f"{huggingface_hub.constants.ENDPOINT}/owner/gated"
    with pytest.raises(ArtifactError, match=f"accept its licence at {page}.*hf auth login"):
        resolve(from_hub("owner/gated", "owner/copy"), ["unet"])


def test_models_that_are_nowhere_are_all_named(hub):
    with pytest.raises(ArtifactError, match=r"owner/gone: not there.*owner/lost: not there"):
        resolve(from_hub("owner/gone", "owner/lost"), ["unet"])


def test_offline_nothing_is_asked_and_the_cache_is_used(hub, monkeypatch):
    first = resolve(from_hub("owner/copy"), ["unet"])
    hub.asked.clear()
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    assert resolve(from_hub("owner/copy"), ["unet"]) == first
    with pytest.raises(ArtifactError, match=r"owner/copy: not in the cache .*HF_HUB_OFFLINE"):
        resolve(from_hub("owner/copy"), ["text_encoder"])
    with pytest.raises(ArtifactError, match=r"owner/other: not in the cache .*HF_HUB_OFFLINE"):
        resolve(from_hub("owner/other"), ["unet"])
    assert hub.asked == []


def test_a_local_model_never_asks_the_hub(hub, model):
    load(model).embed(["a red car"])
    assert hub.asked == []


def test_a_missing_folder_says_how_to_get_one(tmp_path):
    with pytest.raises(ArtifactError, match=r"nowhere: no such model folder; .make toyworld"):
        load(tmp_path / "nowhere")


@pytest.mark.parametrize("extra", [{}, {"path": "here", "hub": ["owner/name"]}])
def test_a_model_is_either_here_or_there(extra):
    with pytest.raises(ArtifactError, match="either `path`, a model folder, or `hub`"):
        resolve({"name": "tiny", **extra}, ["unet"])


def test_corrupt_weights_are_named(broken):
    path = broken / "unet" / WEIGHTS
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(ArtifactError, match=rf"unet/{WEIGHTS}: corrupt"):
        load(broken)
    text = broken / "text_encoder" / "model.safetensors"
    path.write_bytes((broken / "unet" / WEIGHTS.replace(".safe", ".fp16.safe")).read_bytes())
    text.write_bytes(b"x")
    with pytest.raises(ArtifactError, match=r"text_encoder/model.safetensors: corrupt"):
        load(broken).embed(["a red car"])


def test_pickled_weights_are_not_read(broken):
    for path in (broken / "unet").glob("*.safetensors"):
        path.unlink()
    with pytest.raises(ArtifactError, match=r"unet holds no \*.safetensors; pickled weights"):
        load(broken)


@pytest.mark.parametrize(
    ("file", "changes", "message"),
    [
        ("unet/config.json", {"_class_name": "AutoencoderKL"}, "describes a AutoencoderKL"),
        ("unet/config.json", {"block_out_channels": [8, 24]}, "do not fit each other|describes"),
        ("unet/config.json", {"layers_per_block": 2}, "do not fit each other|missing_keys"),
        ("unet/config.json", {"addition_embed_type": None}, "unexpected_keys: add_embedding"),
        ("text_encoder/config.json", {"architectures": ["BertModel"]}, "describes a BertModel"),
        ("text_encoder/config.json", {"hidden_size": 32}, "do not fit each other"),
        ("text_encoder/config.json", {"num_hidden_layers": 2}, "missing_keys: encoder.layers.1"),
        ("scheduler/scheduler_config.json", {"prediction_type": "sample"}, "'sample'; this code"),
        ("scheduler/scheduler_config.json", {"beta_schedule": "cosine"}, "not a noise schedule"),
    ],
)
def test_a_configuration_that_does_not_fit_is_named(broken, file, changes, message):
    path = broken / file
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    with pytest.raises(ArtifactError, match=message) as caught:
        load(broken).embed(["a red car"])
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("file", ["unet/config.json", "scheduler/scheduler_config.json"])
def test_a_configuration_that_is_missing_or_not_json_is_named(broken, file):
    (broken / file).write_text("{")
    with pytest.raises(ArtifactError, match=f"{file}: not JSON"):
        load(broken)
    (broken / file).unlink()
    with pytest.raises(ArtifactError, match=f"{file}: no such file"):
        load(broken)


def test_a_local_model_is_known_by_its_files(model, broken):
    parts = ["unet", "scheduler"]
    before = identity(resolve(tiny.spec("deepfloyd", model), parts), parts)
    copy = resolve(tiny.spec("deepfloyd", broken), parts)
    assert identity(copy, parts) == before
    path = broken / "unet" / WEIGHTS
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(bytes(data))
    assert identity(copy, parts) != before
    assert identity(copy, ["scheduler"]) == identity(
        resolve(tiny.spec("", model), []), ["scheduler"]
    )
