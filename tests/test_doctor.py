"""What the doctor asks of a machine, on machines that are made up."""

import subprocess
import sys

import pytest

from pipeline import config, doctor, machine, sizes
from pipeline.torchvision_shim import ensure_torchvision

LISTING = "0, NVIDIA H200, 143771, 580.65.06\n1, NVIDIA H200, 143771, 580.65.06\n"


@pytest.fixture
def tool(tmp_path, monkeypatch):
    """Puts a program on the path that prints what it is told."""
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")

    def made(name: str, says: str, status: int = 0) -> None:
        path = tmp_path / name
        path.write_text(f"#!/bin/sh\ncat <<'END'\n{says}END\nexit {status}\n", encoding="utf-8")
        path.chmod(0o755)

    return made


@pytest.fixture
def cuda():
    return config.load_preset("smoke") | {"device": "cuda"}


def test_gpus_are_read_as_the_driver_lists_them(tool):
    tool("nvidia-smi", LISTING)
    assert [gpu.index for gpu in machine.gpus()] == ["0", "1"]
    assert machine.gpus()[0] == machine.Gpu("0", "NVIDIA H200", 143771, "580.65.06")


@pytest.mark.parametrize(("says", "status"), [("No devices were found\n", 6), ("what, ever\n", 0)])
def test_a_driver_that_fails_or_says_something_else_has_no_gpu(tool, says, status):
    tool("nvidia-smi", says, status)
    assert machine.gpus() == []


def test_what_is_wrong_with_a_gpu_is_told_apart(tool, cuda, monkeypatch):
    def remedy(built: str | None, usable: bool) -> str | None:
        monkeypatch.setattr(machine, "torch_cuda", lambda: (built, usable))
        return doctor.requirements(cuda)["a CUDA GPU"]

    assert remedy("13.0", True) is None
    tool("nvidia-smi", "", 9)
    assert "install NVIDIA's driver" in remedy("13.0", False)
    tool("nvidia-smi", LISTING)
    assert "this torch is a CPU build" in remedy(None, False)
    assert "driver 580.65.06 does not serve CUDA 13.0" in remedy("13.0", False)
    said = [what for _, what in doctor.remarks(cuda)]
    assert "GPU 1: NVIDIA H200, 143771 MiB, driver 580.65.06" in said
    assert any("--resources gpu=2" in what for what in said)


def test_a_gpu_elsewhere_is_not_looked_for_here(cuda):
    assert "a CUDA GPU" not in doctor.requirements(cuda, jobs_run_here=False)
    assert "the Slurm plugin" in doctor.requirements(cuda, jobs_run_here=False)


def test_packages_that_only_make_it_faster_are_not_missing(cuda, monkeypatch):
    monkeypatch.setattr(machine, "installed", lambda package: False)
    remarks = dict((what.partition(":")[0], word) for word, what in doctor.remarks(cuda))
    assert remarks["nvdiffrast"] == remarks["tinycudann"] == "absent"
    assert not any("nvdiffrast" in what for what in doctor.missing_for(cuda))


def test_an_encoder_in_eight_bits_needs_its_package(cuda, monkeypatch):
    monkeypatch.setattr(machine, "installed", lambda package: False)
    assert "bitsandbytes" not in doctor.requirements(cuda)
    cuda["priors"][cuda["stages"]["nerf"]["prior"]]["text_encoder_bits"] = 8
    assert (
        "bitsandbytes: pip install -c constraints.txt -e '.[bitsandbytes]'"
        in doctor.missing_for(cuda)
    )
    monkeypatch.setattr(machine, "installed", lambda package: package == "bitsandbytes")
    assert doctor.requirements(cuda)["bitsandbytes"] is None


def test_weights_are_asked_for_by_what_a_run_reads(monkeypatch, tmp_path):
    paper = config.load_preset("paper")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    monkeypatch.delenv("HF_TOKEN", raising=False)
    missing = "\n".join(doctor.missing_for(paper, jobs_run_here=False))
    assert 'hf download DeepFloyd/IF-I-XL-v1.0 --include "*.json"' in missing
    assert '"*/*.fp16*.safetensors"' in missing
    assert "lllyasviel/control_v11p_sd15_canny" in missing
    assert "timm/vit_base_patch32_clip_224.openai" in missing
    assert "a token for huggingface.co: hf auth login" in missing
    (tmp_path / "token").write_text("x", encoding="utf-8")
    assert "a token" not in "\n".join(doctor.missing_for(paper, jobs_run_here=False))


def test_a_copy_will_do_and_a_broken_download_will_not(cuda, monkeypatch, tmp_path):
    cuda["stages"]["nerf"]["prior"] = "hubbed"
    cuda["priors"]["hubbed"] = {"hub": ["org/name@main", "copy/name"], "variant": None}
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    what = "weights of hubbed: org/name"
    assert "hf download org/name --include" in doctor.requirements(cuda)[what]
    blobs = tmp_path / "models--copy--name" / "blobs"
    blobs.mkdir(parents=True)
    assert doctor.requirements(cuda)[what] is None
    (blobs / "0123.incomplete").touch()
    assert doctor.requirements(cuda)[what] is not None


def test_missing_folders_are_named(cuda, tmp_path):
    cuda["evaluation"]["clip"] = f"local-dir:{tmp_path}"
    cuda["priors"]["mixture"] = {"path": str(tmp_path / "none")}
    missing = doctor.missing_for(cuda, jobs_run_here=False)
    assert f"weights of mixture: no folder {tmp_path}/none" in missing
    assert f"the CLIP model in {tmp_path}: run make toyworld" in missing


def test_a_full_disk_is_said_before_the_first_job(cuda, monkeypatch):
    needed = sizes.results_mb(cuda)
    monkeypatch.setattr(machine, "free_mb", lambda folder: needed - 1)
    assert any(m.startswith("disk space: ") for m in doctor.missing_for(cuda))
    monkeypatch.setattr(machine, "free_mb", lambda folder: needed)
    assert not any(m.startswith("disk space: ") for m in doctor.missing_for(cuda))


def test_slurm_without_its_plugin_is_not_usable(tool, cuda, monkeypatch):
    tool("sbatch", "slurm-wlm 22.05.8\n")
    monkeypatch.setattr(machine, "installed", lambda package: False)
    assert ("absent", "slurm-wlm 22.05.8, but not Snakemake's plugin for it: pip install -c "
            "constraints.txt -e '.[slurm]'") in list(doctor.remarks(cuda))  # fmt: skip
    assert doctor.requirements(cuda, jobs_run_here=False)["the Slurm plugin"] is not None


def test_the_hub_copy_of_an_encoder_is_the_one_that_is_loaded():
    ensure_torchvision()
    from open_clip.pretrained import get_pretrained_cfg

    for name, copy in doctor.CLIP_HUB.items():
        assert get_pretrained_cfg(*name.split(":"))["hf_hub"].strip("/") == copy


def test_the_encoder_of_every_preset_is_known():
    for name in config.preset_names():
        clip = config.load_preset(name)["evaluation"]["clip"]
        assert clip.startswith("local-dir:") or clip in doctor.CLIP_HUB


def test_the_program_prints_a_line_each_and_fails_when_something_is_missing(capsys, monkeypatch):
    assert doctor.main(["--preset", "smoke"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert {line.split()[0] for line in lines} <= {"ok", "absent"}
    monkeypatch.setattr(machine, "free_mb", lambda folder: 0.0)
    assert doctor.main(["--preset", "smoke"]) == 1
    assert "missing  disk space: 0 GB free" in capsys.readouterr().out
    assert doctor.main(["--preset", "none"]) == 1
    assert "unknown preset 'none'" in capsys.readouterr().err


def test_the_doctor_itself_waits_for_no_torch():
    code = "import sys, pipeline.doctor; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_disk_is_counted_from_the_tables_that_a_scene_holds(tmp_path):
    """Against the fields themselves; what the count leaves out is a few per cent."""
    from pipeline.scenes.hashgrid import HashGridSettings, grid_levels
    from pipeline.scenes.tetgrid import TetGrid

    paper = config.load_preset("paper")["stages"]
    for stage in paper.values():
        grid = stage["scene"]["grid"]
        last = grid_levels(HashGridSettings(**grid))[-1]
        entries = last.offset + last.entries
        assert sizes.scene_mb({"kind": "image", "grid": grid}) * 2**20 == pytest.approx(
            4 * grid["features"] * entries, rel=1e-3
        )
    lattice = TetGrid(resolution=16, half_width=1.0)
    assert sizes.scene_mb({"kind": "mesh", "resolution": 16}) * 2**20 == 16 * lattice.nodes
    assert sizes.results_mb(config.load_preset("paper")) > 81 * 4 * sizes.scene_mb(
        paper["mesh"]["scene"]
    )
