from __future__ import annotations

import errno
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import toy_stages
from toy_stages import ToyStage, toy_plan

from atlas.errors import ArtifactError, BusyError, ConfigError, InputError, ResourceError
from atlas.release import Home
from atlas.settings import Settings
from indexer.run import Builder
from indexer.stage import BuildRequest


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "counts.txt"
    path.write_text("counts")
    return path


def request_in(home: Path, name: str = "toy") -> BuildRequest:
    return BuildRequest(name=name, home=home, model_dir=home, settings=Settings())


def actions(builder: Builder) -> dict[str, str]:
    return {step.stage: step.action for step in builder.plan()}


def test_build_publishes_a_release_and_points_to_it(tmp_path: Path, source: Path) -> None:
    release = Builder(request_in(tmp_path / "home"), toy_plan(source)).run()
    assert release.name == "toy"
    assert Home(tmp_path / "home").current() == "toy"
    assert [entry.name for entry in release.manifest.stages] == ["ingest_samples", "embed_samples", "publish_release"]
    assert not (tmp_path / "home" / "builds" / "toy").exists()


@pytest.mark.parametrize("kill_at", ["ingest_samples", "embed_samples", "publish_release"])
def test_build_killed_in_a_stage_resumes_with_equal_content(tmp_path: Path, source: Path, kill_at: str) -> None:
    whole = Builder(request_in(tmp_path / "whole"), toy_plan(source)).run()
    home = tmp_path / "killed"
    script = [sys.executable, toy_stages.__file__, str(home), str(source), kill_at]
    killed = subprocess.run(script, cwd=Path(__file__).parents[2], env={**os.environ, "PYTHONPATH": "."}, check=False)
    assert killed.returncode == -signal.SIGKILL
    plan = toy_plan(source)
    resumed = Builder(request_in(home), plan).run()
    ran = [stage.name for stage in plan if stage.runs]
    assert ran == [stage.name for stage in plan][[s.name for s in plan].index(kill_at) :]
    assert resumed.manifest.content_key == whole.manifest.content_key


def test_plan_says_what_runs_and_why(tmp_path: Path, source: Path) -> None:
    home = tmp_path / "home"
    plan = toy_plan(source)
    assert set(actions(Builder(request_in(home), plan)).values()) == {"run"}
    plan[2].outputs = ("never-written",)
    plan[2].run = lambda ctx: (_ for _ in ()).throw(InputError("stop here"))  # type: ignore[method-assign]
    with pytest.raises(InputError, match="stop here"):
        Builder(request_in(home), plan).run()
    plan = toy_plan(source)
    assert actions(Builder(request_in(home), plan)) == {
        "ingest_samples": "skip",
        "embed_samples": "skip",
        "publish_release": "run",
    }
    plan[1].factor = 2
    steps = Builder(request_in(home), plan).plan()
    assert steps[1].reason == "its inputs, parameters or code changed"
    assert steps[2].reason == "follows embed_samples"


def stopped_before_publish(home: Path, source: Path) -> list[ToyStage]:
    """Run the plan up to its last stage, which fails."""
    plan = toy_plan(source)
    plan[2].run = lambda ctx: (_ for _ in ()).throw(InputError("stop here"))  # type: ignore[method-assign]
    with pytest.raises(InputError, match="stop here"):
        Builder(request_in(home), plan).run()
    return toy_plan(source)


def test_changed_source_reruns_everything_that_depends_on_it(tmp_path: Path, source: Path) -> None:
    home = tmp_path / "home"
    plan = stopped_before_publish(home, source)
    source.write_text("other counts")
    assert actions(Builder(request_in(home), plan))["ingest_samples"] == "run"


def test_changed_artefact_reruns_its_stage(tmp_path: Path, source: Path) -> None:
    home = tmp_path / "home"
    plan = stopped_before_publish(home, source)
    (home / "builds" / "toy" / "release" / "vectors.npy").write_bytes(b"rot")
    steps = Builder(request_in(home), plan).plan()
    assert [s.action for s in steps] == ["skip", "run", "run"]
    assert "vectors.npy is missing or was changed" in steps[1].reason


def test_unreadable_record_counts_as_not_done(tmp_path: Path, source: Path) -> None:
    home = tmp_path / "home"
    plan = stopped_before_publish(home, source)
    (home / "builds" / "toy" / "stages" / "ingest_samples.json").write_text('{"half')
    assert actions(Builder(request_in(home), plan))["ingest_samples"] == "run"


def test_force_reruns_one_stage_only(tmp_path: Path, source: Path) -> None:
    home = tmp_path / "home"
    plan = stopped_before_publish(home, source)
    Builder(request_in(home), plan, force=["embed_samples"]).run()
    assert [bool(stage.runs) for stage in plan] == [False, True, True]


def test_force_of_an_unknown_stage_is_refused(tmp_path: Path, source: Path) -> None:
    with pytest.raises(ConfigError, match="no such stage"):
        Builder(request_in(tmp_path), toy_plan(source), force=["embed"])


def test_same_build_again_changes_nothing(tmp_path: Path, source: Path) -> None:
    home = tmp_path / "home"
    first = Builder(request_in(home), toy_plan(source)).run()
    again = toy_plan(source)
    second = Builder(request_in(home), again).run()
    assert not any(stage.runs for stage in again)
    assert second.manifest == first.manifest


def test_name_of_another_release_is_refused(tmp_path: Path, source: Path) -> None:
    home = tmp_path / "home"
    Builder(request_in(home), toy_plan(source)).run()
    other = toy_plan(source)
    other[0].factor = 7
    with pytest.raises(InputError, match="already published"):
        Builder(request_in(home), other).run()


def test_second_build_in_the_same_home_is_refused_at_once(tmp_path: Path, source: Path) -> None:
    home = tmp_path / "home"
    with Home(home).lock("build other"), pytest.raises(BusyError, match="build other"):
        Builder(request_in(home), toy_plan(source)).run()


@pytest.mark.parametrize(
    "error", [OSError(errno.ENOSPC, "No space left on device"), RuntimeError("No space left on device")]
)
def test_full_disk_stops_with_a_sentence_and_resumes(tmp_path: Path, source: Path, error: Exception) -> None:
    home = tmp_path / "home"
    plan = toy_plan(source)

    def full(ctx: object) -> None:
        raise error

    plan[1].run = full  # type: ignore[assignment, method-assign]
    with pytest.raises(ResourceError, match="disk under .* is full"):
        Builder(request_in(home), plan).run()
    resumed = toy_plan(source)
    Builder(request_in(home), resumed).run()
    assert [bool(stage.runs) for stage in resumed] == [False, True, True]


def no_room_for_a_library() -> None:
    raise ImportError("libtorch_cpu.so: failed to map segment from shared object: cannot allocate memory")


@pytest.mark.parametrize("fail", [lambda: np.empty(1 << 55), lambda: torch.empty(1 << 55), no_room_for_a_library])
def test_stage_that_runs_out_of_memory_is_named_and_resumes(
    tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch, fail: Callable[[], object]
) -> None:
    plan = toy_plan(source)
    with monkeypatch.context() as patched:
        patched.setattr(plan[1], "run", lambda ctx: fail())
        with pytest.raises(ResourceError, match="Stage embed_samples ran out of memory: .*llocate.*resumes") as caught:
            Builder(request_in(tmp_path / "home"), plan).run()
    assert caught.value.details["stage"] == "embed_samples"
    Builder(request_in(tmp_path / "home"), plan).run()
    assert plan[0].runs == ["ingest_samples"]


def test_too_little_free_disk_is_said_before_the_stage(
    tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10, 9, 1))
    with pytest.raises(ResourceError, match="it resumes"):
        Builder(request_in(tmp_path / "home"), toy_plan(source)).run()


def test_a_limit_that_libraries_cannot_live_under_is_refused(
    tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda which: (1_500 * 2**20, -1))
    with pytest.raises(ResourceError, match="1500 MiB of address space .*ulimit -v.*2048 MiB") as caught:
        Builder(request_in(tmp_path / "home"), toy_plan(source)).run()
    assert caught.value.details == {"limit_bytes": 1_500 * 2**20, "expected_bytes": 2**31}
    monkeypatch.setattr(resource, "getrlimit", lambda which: (2**31, -1))
    Builder(request_in(tmp_path / "home"), toy_plan(source)).run()


def test_missing_source_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nowhere.h5 does not exist"):
        Builder(request_in(tmp_path / "home"), toy_plan(tmp_path / "nowhere.h5")).run()


def test_stage_that_forgets_an_output_is_refused(tmp_path: Path, source: Path) -> None:
    plan = toy_plan(source)
    plan[0].outputs = ("samples.parquet", "series.parquet/")
    plan[0].run = ToyStage("ingest_samples", outputs=("samples.parquet",)).run  # type: ignore[method-assign]
    plan[0].validate = lambda ctx: None  # type: ignore[method-assign]
    with pytest.raises(ArtifactError, match="did not write"):
        Builder(request_in(tmp_path / "home"), plan).run()


def test_manifest_records_counts_params_and_digests(tmp_path: Path, source: Path) -> None:
    release = Builder(request_in(tmp_path / "home"), toy_plan(source)).run()
    payload = json.loads((release.folder / "manifest.json").read_text())
    entry = payload["stages"][0]
    assert entry["params"] == {"factor": 1}
    assert entry["inputs"][0]["path"] == str(source)
    assert {file["path"] for file in payload["files"]} == {"samples.parquet", "vectors.npy", "model/config.json"}


def test_published_release_with_a_missing_file_is_said_by_name(tmp_path: Path, source: Path) -> None:
    home = tmp_path / "home"
    release = Builder(request_in(home), toy_plan(source)).run()
    (release.folder / "samples.parquet").unlink()
    with pytest.raises(ArtifactError, match=r"lacks .*samples.parquet"):
        Builder(request_in(home), toy_plan(source)).plan()


def test_stage_of_a_published_release_cannot_be_forced(tmp_path: Path, source: Path) -> None:
    home = tmp_path / "home"
    Builder(request_in(home), toy_plan(source)).run()
    with pytest.raises(InputError, match="no stage of it can be forced"):
        Builder(request_in(home), toy_plan(source), force=["embed_samples"]).run()


def test_asking_again_for_an_old_release_leaves_the_pointer(tmp_path: Path, source: Path) -> None:
    home = tmp_path / "home"
    Builder(request_in(home, "one"), toy_plan(source)).run()
    Builder(request_in(home, "two"), toy_plan(source)).run()
    Builder(request_in(home, "one"), toy_plan(source)).run()
    assert Home(home).current() == "two"


def test_build_killed_between_publishing_and_pointing_is_finished_by_the_next_run(tmp_path: Path, source: Path) -> None:
    home = tmp_path / "home"
    Builder(request_in(home, "one"), toy_plan(source)).run()
    Builder(request_in(home, "two"), toy_plan(source)).run()
    Home(home).use("one")
    (home / "builds" / "two" / "stages").mkdir(parents=True)  # what such a kill leaves
    Builder(request_in(home, "two"), toy_plan(source)).run()
    assert Home(home).current() == "two"
    assert not (home / "builds" / "two").exists()


def test_large_files_are_published_with_the_digests_of_their_blocks(
    tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("indexer.publish.SMALL_FILE_BYTES", 1)
    monkeypatch.setattr("atlas.release.SMALL_FILE_BYTES", 1)
    monkeypatch.setattr("atlas.blocks.BLOCK_BYTES", 64)
    release = Builder(request_in(tmp_path / "home"), toy_plan(source)).run()
    for file in release.manifest.files:
        assert len(file.blocks or ()) == -(-file.bytes // 64)
    assert release.verified == 0.0
    release.check_all()
    assert release.verified == 1.0
    release.verify()
