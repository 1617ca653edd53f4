"""An artefact is hashed once in a run, however many stages read it, and again when it was changed or the run is another."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from toy_stages import toy_plan

from atlas import digests
from atlas.digests import DigestCache
from atlas.errors import InputError
from atlas.settings import Settings
from indexer.run import Builder
from indexer.stage import BuildRequest


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often each file was read for its digest, by name."""
    counted: Counter[str] = Counter()
    real = digests.sha256_file

    def counting(path: Path) -> str:
        counted[path.name] += 1
        return real(path)

    monkeypatch.setattr(digests, "sha256_file", counting)
    return counted


def stopped_build(home: Path, source: Path) -> Builder:
    """A build whose last stage fails, so its artefacts lie in the build folder."""
    request = BuildRequest(name="toy", home=home, model_dir=home, settings=Settings())
    plan = toy_plan(source)
    plan[2].run = lambda ctx: (_ for _ in ()).throw(InputError("stop here"))  # type: ignore[method-assign]
    builder = Builder(request, plan)
    with pytest.raises(InputError, match="stop here"):
        builder.run()
    return builder


def test_bytes_that_several_stages_read_are_hashed_once_a_run(tmp_path: Path, hashed: Counter[str]) -> None:
    source = tmp_path / "counts.txt"
    source.write_text("counts")
    builder = stopped_build(tmp_path / "home", source)
    artefacts = {path.name for path in builder.folder.rglob("*") if path.is_file()}
    assert artefacts
    assert {hashed[name] for name in artefacts} == {1}
    builder.plan()
    assert {hashed[name] for name in artefacts} == {1}
    Builder(builder.request, toy_plan(source)).plan()
    assert {hashed[name] for name in artefacts} == {2}


def test_a_change_behind_the_builder_is_seen(tmp_path: Path) -> None:
    source = tmp_path / "counts.txt"
    source.write_text("counts")
    builder = stopped_build(tmp_path / "home", source)
    assert builder.plan()[0].action == "skip"
    damaged = next(path for path in builder.folder.rglob("*") if path.is_file())
    damaged.write_bytes(damaged.read_bytes() + b"x")
    assert "run" in {step.action for step in builder.plan()[:2]}


def test_a_cache_without_a_file_writes_none(tmp_path: Path) -> None:
    file = tmp_path / "a"
    file.write_text("1")
    cache = DigestCache(None)
    first = cache.entry(file)
    file.write_text("22")
    assert cache.entry(file).sha256 != first.sha256
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
