"""Scans of a release built by the real stages: files, answers, ad-hoc lists, hostile input."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from atlas.atlas import Atlas
from atlas.errors import ArtifactError, AtlasError, InputError, NotFoundError, TooLargeError
from atlas.scans import adhoc
from atlas.scans.adhoc import load_background, read_list, run_scan, scan_key
from atlas.scans.background import Background
from atlas.settings import Settings
from atlas.vocabulary import packaged_vocabularies, read_terms
from indexer.stage import BuildRequest, StageContext
from indexer.stages.scan_vocabulary import STAGE

OMIM = "omim_expanded"


@pytest.fixture
def home(tmp_path: Path, tiny_home: Path) -> Path:
    """A home of one's own to write scans in."""
    return Path(shutil.copytree(tiny_home, tmp_path / "home", ignore=shutil.ignore_patterns("builds", "postgres")))


@pytest.fixture
def atlas(home: Path) -> Iterator[Atlas]:
    opened = Atlas.open(Settings(home=home))
    yield opened
    opened.close()


@pytest.fixture
def small_background(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tenth of the background: what is asked below does not depend on its size."""
    load = adhoc.load_background

    def some(atlas: Atlas) -> Background:
        whole = load(atlas)
        return Background(whole.texts[::10], whole.libraries[::10], whole.vectors[::10])

    monkeypatch.setattr(adhoc, "load_background", some)


def test_the_release_holds_its_sweep(tiny_settings: Settings) -> None:
    atlas = Atlas.open(tiny_settings)
    shelf = atlas.scans
    assert shelf.names() == (OMIM,)
    (summary,) = shelf.summaries()
    assert (summary.name, summary.stored, summary.n_terms, summary.n_samples) == (OMIM, "release", 187, 64)
    assert summary.release == "tiny"
    assert summary.n_background > 5_000
    assert summary.calibration.share_of_null_sweeps <= 0.06
    atlas.close()


def test_report_ranks_terms_and_names_each_clusters_best(tiny_settings: Settings) -> None:
    shelf = Atlas.open(tiny_settings).scans
    report = shelf.report(OMIM, n_top=3)
    assert [term.rank for term in report.terms] == list(range(1, 188))
    p = [term.p_value for term in report.terms]
    assert p == sorted(p)
    assert all(0 < one <= 1 for one in p)
    assert all(term.q_value >= term.p_value for term in report.terms)
    by_cluster: dict[int, list[float]] = {}
    for cell in report.top_terms_of_clusters:
        by_cluster.setdefault(cell.cluster, []).append(cell.effect)
    assert set(by_cluster) == set(range(report.summary.n_clusters))
    assert all(len(effects) == 3 and effects == sorted(effects, reverse=True) for effects in by_cluster.values())
    for cluster, effects in by_cluster.items():
        assert effects[0] == shelf.cluster(OMIM, cluster)[0].effect


def test_one_term_in_every_cluster(tiny_settings: Settings) -> None:
    atlas = Atlas.open(tiny_settings)
    found = atlas.scans.term(OMIM, "  CARDIOMYOPATHY ")
    effects = [cell.effect for cell in found.cells]
    assert effects == sorted(effects, reverse=True)
    assert found.term.effect == effects[0]
    assert found.term.top_cluster == found.cells[0].cluster
    hearts = [row for row in range(64) if atlas.sample(atlas_accession(atlas, row)).tissue == "heart"]
    z = atlas.scans.term_scores(OMIM, "cardiomyopathy")
    assert z[hearts].mean() > z.mean() + 0.5
    clusters = pq.read_table(atlas.release.path("communities.parquet"))["cluster"].to_numpy()
    for cell in found.cells:
        assert cell.effect == pytest.approx(z[clusters == cell.cluster].mean(), abs=2e-3)
        assert cell.descriptive == (cell.n_studies < 3) == (cell.low is None)


def atlas_accession(atlas: Atlas, row: int) -> str:
    return str(pq.read_table(atlas.release.path("samples.parquet"))["sample_id"][row].as_py())


def test_matrix_holds_the_best_terms_and_every_cluster_once(tiny_settings: Settings) -> None:
    shelf = Atlas.open(tiny_settings).scans
    matrix = shelf.matrix(OMIM, max_terms=10)
    best = {term.term for term in shelf.report(OMIM).terms[:10]}
    assert set(matrix.terms) == best
    assert len(matrix.terms) == 10
    assert sorted(matrix.clusters) == list(range(matrix.summary.n_clusters))
    term = shelf.term(OMIM, matrix.terms[3])
    effects = {cell.cluster: cell.effect for cell in term.cells}
    assert matrix.effects[3] == pytest.approx([effects[cluster] for cluster in matrix.clusters], abs=1e-4)


def test_sums_of_samples_are_the_sum_of_their_z(tiny_settings: Settings) -> None:
    shelf = Atlas.open(tiny_settings).scans
    samples = shelf.samples(OMIM)
    assert len(samples.accession) == len(samples.sum_z) == len(samples.percentile) == 64
    total = sum(shelf.term_scores(OMIM, term.term).astype(float) for term in shelf.report(OMIM).terms)
    assert samples.sum_z == pytest.approx(list(total), abs=0.5)
    assert all(0 <= one <= 100 for one in samples.percentile)
    for kept, shown in zip(shelf.sums(OMIM), (samples.sum_z, samples.percentile), strict=True):
        np.testing.assert_allclose(kept, shown, atol=0.006)


@pytest.mark.parametrize("name", ["nope", "../../etc", "", "omim_expanded/..", "0" * 16, "\0"])
def test_an_unknown_scan_lists_those_at_hand(tiny_settings: Settings, name: str) -> None:
    with pytest.raises(NotFoundError, match=OMIM):
        Atlas.open(tiny_settings).scans.report(name)


@pytest.mark.parametrize("term", ["cardiomyopathie", "", "\0", "x" * 5_000])
def test_an_unknown_term_is_not_found(tiny_settings: Settings, term: str) -> None:
    with pytest.raises(NotFoundError):
        Atlas.open(tiny_settings).scans.term(OMIM, term)


def test_an_unknown_cluster_is_not_found(tiny_settings: Settings) -> None:
    with pytest.raises(NotFoundError, match="clusters 0 to"):
        Atlas.open(tiny_settings).scans.cluster(OMIM, 999)


@pytest.mark.usefixtures("small_background")
def test_an_own_list_is_swept_once_and_kept_in_the_home(atlas: Atlas, home: Path) -> None:
    out = home / "scans" / "tiny"
    terms = ["heart failure", "Heart  Failure", "", "hepatitis", "hepatitis"]
    summary = run_scan(atlas, terms, name="mine", title="My list", out=out)
    assert (summary.n_terms, summary.n_duplicates, summary.duplicates) == (2, 2, ("Heart Failure", "hepatitis"))
    assert (summary.stored, summary.title) == ("home", "My list")
    assert [one.name for one in out.iterdir()] == [summary.name]
    written = (out / summary.name / "scan.json").stat().st_mtime_ns
    again = run_scan(atlas, ["HEPATITIS", "heart failure"], name="other", title="", out=out)
    assert again.name == summary.name
    assert (out / summary.name / "scan.json").stat().st_mtime_ns == written
    assert atlas.scans.names() == (OMIM, summary.name)
    assert atlas.scans.term(summary.name, "heart failure").cells[0].effect > 0.5


@pytest.mark.usefixtures("small_background")
def test_a_packaged_vocabulary_swept_later_is_no_background_of_itself(atlas: Atlas, home: Path) -> None:
    terms = read_terms(packaged_vocabularies()["Azimuth_2023"]).terms[:20]
    out = home / "scans" / "tiny"
    own = run_scan(atlas, terms, name="Azimuth_2023", title="", out=out)
    plain = run_scan(atlas, terms, name="mine", title="", out=out)
    assert own.name != plain.name
    assert own.n_background < plain.n_background


def test_a_release_without_scans_embeds_the_background(atlas: Atlas) -> None:
    """Releases of earlier versions hold none."""
    shelf = atlas.scans
    stored = load_background(atlas)
    shutil.rmtree(atlas.release.folder / "scans")
    assert shelf.names() == ()
    made = load_background(atlas)
    assert made.texts == stored.texts
    np.testing.assert_allclose(made.vectors, stored.vectors, atol=2e-3)


@pytest.mark.usefixtures("small_background")
def test_a_cancelled_scan_leaves_nothing(atlas: Atlas, home: Path) -> None:
    out = home / "scans" / "tiny"
    asked = iter(range(100))
    with pytest.raises(AtlasError, match="cancelled"):
        run_scan(atlas, ["heart failure"], name="a", title="", out=out, cancelled=lambda: next(asked) >= 2)
    assert list(out.iterdir()) == []


def test_a_half_written_scan_is_not_shown(atlas: Atlas, home: Path) -> None:
    folder = home / "scans" / "tiny" / "0123456789abcdef"
    folder.mkdir(parents=True)
    (folder / "terms.parquet").write_bytes(b"PAR1")
    assert atlas.scans.names() == (OMIM,)
    (folder / "scan.json").write_text("{}", encoding="utf-8")
    with pytest.raises(ArtifactError, match="Run the scan again"):
        atlas.scans.report("0123456789abcdef")


def test_a_changed_file_of_the_release_is_refused(home: Path) -> None:
    path = home / "releases" / "tiny" / "scans" / OMIM / "terms.parquet"
    path.write_bytes(path.read_bytes() + b"x")
    with pytest.raises(ArtifactError):
        Atlas.open(Settings(home=home)).scans.report(OMIM)


def test_lists_are_read_as_people_write_them() -> None:
    found = read_list([" a  b ", "A B", "", "c"], max_terms=2)
    assert (found.terms, found.duplicates) == (("a b", "c"), ("A B",))
    assert scan_key(("x", "Y"), content_key="k") == scan_key(("y", "x"), content_key="k")
    assert scan_key(("x",), content_key="k") != scan_key(("x",), content_key="l")


@pytest.mark.parametrize(
    ("terms", "error"),
    [
        ([], InputError),
        (["", "  "], InputError),
        (["a\0b"], InputError),
        (["x" * 1_001], InputError),
        ([f"term {i}" for i in range(100_000)], TooLargeError),
    ],
)
def test_lists_that_cannot_be_swept(terms: list[str], error: type[AtlasError]) -> None:
    with pytest.raises(error):
        read_list(terms, max_terms=99_999)


def test_a_hundred_thousand_lines_are_read() -> None:
    assert len(read_list([f"term {i % 70_000}" for i in range(100_000)], max_terms=100_000).terms) == 70_000


def test_half_a_character_is_read_as_a_question_mark() -> None:
    assert read_list(["\ud83d heart"], max_terms=5).terms == ("? heart",)


@pytest.mark.usefixtures("small_background")
def test_a_full_disk_is_a_sentence(atlas: Atlas, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(adhoc, "write_scan", full)
    with pytest.raises(AtlasError, match="No space left"):
        run_scan(atlas, ["heart failure"], name="a", title="", out=home / "scans" / "tiny")
    assert list((home / "scans" / "tiny").iterdir()) == []


def request_for(home: Path, *vocabularies: str) -> BuildRequest:
    from atlas.resources import resource_path

    return BuildRequest(
        name="x",
        home=home,
        model_dir=resource_path("starter/model"),
        settings=Settings(home=home),
        scan_vocabularies=vocabularies,
    )


def test_the_stage_repeats_itself_byte_for_byte(home: Path, tmp_path: Path) -> None:
    folder = home / "releases" / "tiny"
    out = tmp_path / "out"
    out.mkdir()
    ctx = StageContext(request_for(home, OMIM), folder, out, tmp_path)
    result = STAGE.run(ctx)
    STAGE.validate(ctx)
    assert result.n_out == 187
    assert result.notes[OMIM]["n_terms"] == 187
    for made in sorted((out / "scans").rglob("*.*")):
        built = folder / "scans" / made.relative_to(out / "scans")
        assert made.read_bytes() == built.read_bytes(), made.name


def test_the_stage_without_a_vocabulary_does_nothing(home: Path, tmp_path: Path) -> None:
    ctx = StageContext(request_for(home), home / "releases" / "tiny", tmp_path, tmp_path)
    assert STAGE.run(ctx).n_out == 0
    STAGE.validate(ctx)
    assert STAGE.sources(ctx.request) == ()
    assert list((tmp_path / "scans").iterdir()) == []


def test_the_stage_refuses_an_unknown_vocabulary_and_a_damaged_sweep(home: Path, tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="at hand"):
        STAGE.params(request_for(home, "nope"))
    shutil.copytree(home / "releases" / "tiny" / "scans", tmp_path / "scans")
    ctx = StageContext(request_for(home, OMIM), home / "releases" / "tiny", tmp_path, tmp_path)
    STAGE.validate(ctx)
    path = tmp_path / "scans" / OMIM / "clusters.parquet"
    pq.write_table(pq.read_table(path).slice(0, 5), path)
    with pytest.raises(ArtifactError, match="lacks rows"):
        STAGE.validate(ctx)


def test_what_the_sweep_says_of_itself_does_not_name_the_release(home: Path) -> None:
    """Two builds of the same inputs are the same bytes, whatever they are called."""
    written = json.loads((home / "releases" / "tiny" / "scans" / OMIM / "scan.json").read_text(encoding="utf-8"))
    assert written["release"] == ""
    assert np.isfinite(written["calibration"]["ks_statistic"])
