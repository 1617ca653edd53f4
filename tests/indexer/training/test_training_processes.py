"""Runs in processes of their own: killed and resumed, and two processes against one."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file
from tiny_encoder import write_tiny_encoder, write_tiny_memory_model

from atlas.model.checkpoint import model_hash

ROOT = Path(__file__).resolve().parents[3]
CHILD = ROOT / "tests" / "training_child.py"
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    root = tmp_path_factory.mktemp("start")
    encoder = write_tiny_encoder(root / "encoder", dropout=0.1)
    return write_tiny_memory_model(root / "base", encoder), encoder


def start(folders: tuple[Path, Path], out: Path, *options: str, processes: int = 1) -> subprocess.Popen[bytes]:
    launcher = [sys.executable]
    if processes > 1:
        launcher += ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    environment = {
        **os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}", "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1",
    }  # fmt: skip
    command = [*launcher, str(CHILD), *map(str, folders), str(out), *options]
    return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL)


def finish(child: subprocess.Popen[bytes]) -> None:
    _, errors = child.communicate(timeout=1000)
    assert child.returncode == 0, errors.decode()[-3000:]


def log(out: Path) -> list[dict[str, str]]:
    with (out / "log.csv").open(encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def test_killed_and_resumed_run_has_the_same_loss_curve(folders: tuple[Path, Path], tmp_path: Path) -> None:
    told = ("batch.size=8", "max_steps=40", "validation.times=8")
    finish(start(folders, tmp_path / "whole", *told))
    killed = start(folders, tmp_path / "parts", *told, "slow")
    first = tmp_path / "parts" / "checkpoints" / "checkpoint-10" / "complete.json"
    for _ in range(12_000):
        if first.is_file() or killed.poll() is not None:
            break
        time.sleep(0.05)
    killed.send_signal(signal.SIGKILL)
    killed.communicate(timeout=60)
    assert killed.returncode == -signal.SIGKILL
    assert first.is_file()
    assert not (tmp_path / "parts" / "config.json").exists()
    finish(start(folders, tmp_path / "parts", *told, "resume"))
    assert log(tmp_path / "parts") == log(tmp_path / "whole")
    assert model_hash(tmp_path / "parts") == model_hash(tmp_path / "whole")


def test_two_processes_equal_one_on_the_same_global_batch(tmp_path: Path, folders: tuple[Path, Path]) -> None:
    """Negatives, batch normalisation and gradients reach across processes."""
    plain = write_tiny_encoder(tmp_path / "encoder")  # dropout would draw other numbers in other processes
    start_from = (write_tiny_memory_model(tmp_path / "base", plain), plain)
    told = ("max_steps=10", "validation.times=2", "loss.jsd=0.5")
    running = [
        start(start_from, tmp_path / "one", *told, "batch.size=16"),
        start(start_from, tmp_path / "two", *told, "batch.size=8", processes=2),
    ]
    for child in running:
        finish(child)
    one, two = log(tmp_path / "one"), log(tmp_path / "two")
    assert [line["step"] for line in one] == [line["step"] for line in two]
    for a, b in zip(one, two, strict=True):
        for name in ("loss", "clip_loss", "jsd_loss", "eval_text_to_transcriptome_AUC"):
            if a[name]:
                assert float(b[name]) == pytest.approx(float(a[name]), rel=2e-3, abs=1e-4), (a["step"], name)
    first, second = load_file(tmp_path / "one" / "model.safetensors"), load_file(tmp_path / "two" / "model.safetensors")
    assert set(first) == set(second)
    for name in first:
        if first[name].dtype == np.float32 and name.startswith("text_head."):
            assert np.allclose(first[name], second[name], rtol=1e-2, atol=2e-3), name


def test_a_gradient_that_is_no_number_in_one_process_stops_all(tmp_path: Path, folders: tuple[Path, Path]) -> None:
    """Each accumulated part has gradients of its own in each process; whoever goes on alone waits for the others for good."""
    told = ("max_steps=2", "batch.size=4", "batch.accumulation=2", "validation.n_items=0", "poisoned")
    child = start(folders, tmp_path / "out", *told, processes=2)
    _, errors = child.communicate(timeout=300)
    assert child.returncode != 0
    assert errors.decode().count("The gradient at step 1 is no number, and training stopped. The batch held") == 2
