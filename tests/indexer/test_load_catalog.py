"""Loading a release into the catalog, on both servers."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from catalog_release import SERIES, write_release
from sqlalchemy import text

from atlas.catalog.database import Database
from atlas.catalog.queries import lexical_search, loaded_release
from atlas.errors import ArtifactError
from atlas.settings import Settings
from indexer.stage import BuildRequest, StageContext
from indexer.stages import catalog_copy, catalog_samples
from indexer.stages.load_catalog import STAGE, load_release, remove_release

pytestmark = pytest.mark.postgres

TABLES = (
    "releases",
    "series",
    "samples",
    "clusters",
    "cluster_keywords",
    "vocabularies",
    "terms",
)


def dump(database: Database, name: str) -> dict[str, list[tuple[object, ...]]]:
    """Return every row of a release, its number left out."""
    found = {}
    with database.connect() as connection:
        for table in TABLES[1:]:
            query = text(
                f"SELECT to_jsonb(t) - 'release_id' FROM atlas.{table} t JOIN atlas.releases USING (release_id) "
                "WHERE name = :name ORDER BY 1"
            )
            found[table] = [tuple(row) for row in connection.execute(query, {"name": name})]
    return found


def test_load_writes_every_row(any_database: Database, tmp_path: Path) -> None:
    folder = write_release(tmp_path / "r")
    counts = load_release(any_database, folder, "rows", model_hash="m")
    assert counts == {
        "series": 4,
        "samples": 10,
        "clusters": 2,
        "cluster_keywords": 2,
        "vocabularies": 2,
        "terms": 3,
    }
    rows = dump(any_database, "rows")
    assert {table: len(found) for table, found in rows.items()} == counts
    blood = next(row[0] for row in rows["samples"] if row[0]["sample_id"] == "GSM2")
    assert blood["series_ids"] == ["GSE1", "GSE3"]
    assert blood["text_folded"].endswith(f"{SERIES['GSE1']}\n{SERIES['GSE3']}".lower())
    assert (blood["row"], blood["cluster"], blood["tissue_words"]) == (2, 0, ["blood", "whole", "blood"])
    orphan = next(row[0] for row in rows["samples"] if row[0]["sample_id"] == "GSM9")
    assert (orphan["organism_folded"], orphan["series_ids"], orphan["tissue_words"]) == ("", [], [""])


def test_load_twice_gives_the_same_rows(any_database: Database, tmp_path: Path) -> None:
    folder = write_release(tmp_path / "r")
    first = load_release(any_database, folder, "twice", model_hash="m")
    before, key = dump(any_database, "twice"), loaded_release(any_database, "twice")
    assert load_release(any_database, folder, "twice", model_hash="m") == first
    after = loaded_release(any_database, "twice")
    assert dump(any_database, "twice") == before
    assert key is not None
    assert after is not None
    assert after.content_key == key.content_key


def test_load_replaces_its_own_rows_and_no_others(any_database: Database, tmp_path: Path) -> None:
    load_release(any_database, write_release(tmp_path / "a"), "mine", model_hash="m")
    load_release(any_database, write_release(tmp_path / "b", title="other "), "theirs", model_hash="m")
    theirs, key = dump(any_database, "theirs"), loaded_release(any_database, "theirs")
    load_release(any_database, write_release(tmp_path / "c", prefix="NEW", n_copies=2), "mine", model_hash="n")
    assert dump(any_database, "theirs") == theirs
    assert loaded_release(any_database, "theirs") == key
    mine = dump(any_database, "mine")
    assert len(mine["samples"]) == 20
    assert all(row[0]["sample_id"].startswith("NEW") for row in mine["samples"])


def test_remove_release_leaves_the_others(any_database: Database, tmp_path: Path) -> None:
    folder = write_release(tmp_path / "a")
    load_release(any_database, folder, "stays", model_hash="m")
    load_release(any_database, folder, "goes", model_hash="m")
    stays = dump(any_database, "stays")
    assert remove_release(any_database, "goes")
    assert not remove_release(any_database, "goes")
    assert loaded_release(any_database, "goes") is None
    assert not any(dump(any_database, "goes").values())
    assert dump(any_database, "stays") == stays


@pytest.mark.parametrize("missing", ["samples.parquet", "captions.parquet", "labels.parquet", "terms.parquet"])
def test_load_of_a_partial_folder_is_refused(database: Database, tmp_path: Path, missing: str) -> None:
    folder = write_release(tmp_path / "r")
    (folder / missing).unlink()
    with pytest.raises(ArtifactError, match=missing) as caught:
        load_release(database, folder, "partial", model_hash="m")
    assert caught.value.kind == "missing"
    assert loaded_release(database, "partial") is None


def _drop_series(table: pa.Table) -> pa.Table:
    return table.slice(1)


def _reverse(table: pa.Table) -> pa.Table:
    return table.take(list(range(table.num_rows))[::-1])


def _without_title(table: pa.Table) -> pa.Table:
    return table.drop_columns(["title"])


@pytest.mark.parametrize(
    ("name", "spoil", "reason"),
    [
        ("series.parquet", _drop_series, "series"),
        ("captions.parquet", _reverse, "another order"),
        ("captions.parquet", _drop_series, "other samples"),
        ("landscape.parquet", _drop_series, "landscape.parquet and samples.parquet"),
        ("labels.parquet", _drop_series, "clusters"),
        ("samples.parquet", _without_title, "title"),
    ],
)
def test_load_of_contradicting_files_changes_nothing(
    database: Database, tmp_path: Path, name: str, spoil: object, reason: str
) -> None:
    folder = write_release(tmp_path / "r")
    load_release(database, folder, "contra", model_hash="m")
    before = dump(database, "contra")
    pq.write_table(spoil(pq.read_table(folder / name)), folder / name)
    with pytest.raises(ArtifactError, match=reason):
        load_release(database, folder, "contra", model_hash="m")
    assert dump(database, "contra") == before


def test_load_of_a_truncated_file_is_refused(database: Database, tmp_path: Path) -> None:
    folder = write_release(tmp_path / "r")
    (folder / "samples.parquet").write_bytes((folder / "samples.parquet").read_bytes()[:100])
    with pytest.raises(ArtifactError, match="cannot be read") as caught:
        load_release(database, folder, "cut", model_hash="m")
    assert caught.value.kind == "corrupt"


def test_load_keeps_text_that_postgres_cannot_hold_apart(
    any_database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catalog_copy, "BATCH_ROWS", 3)  # more than one batch, the last one shorter
    folder = write_release(tmp_path / "r", title="nul\0tab\tline\n\\N ")
    counts = load_release(any_database, folder, "nul", model_hash="m")
    assert counts["samples"] == 10
    texts = [row[0]["text_folded"] for row in dump(any_database, "nul")["samples"]]
    assert any(text.startswith("nul\ufffdtab\tline\n\\n heart failure 1\n") for text in texts)


KILLED = """
import os, signal, sys
from pathlib import Path
from atlas.catalog.database import open_database
from atlas.settings import Settings
from indexer.stages import load_catalog

drop = load_catalog.drop_samples
def deadly(connection, **arguments):
    drop(connection, **arguments)
    os.kill(os.getpid(), signal.SIGKILL)  # all is loaded, the old rows are dropped, nothing is committed
load_catalog.drop_samples = deadly
with open_database(Settings(database_url=sys.argv[1])) as database:
    load_catalog.load_release(database, Path(sys.argv[2]), "killed", model_hash="new")
"""


def test_kill_in_the_middle_of_a_load_leaves_the_old_rows(any_database: Database, tmp_path: Path) -> None:
    load_release(any_database, write_release(tmp_path / "old"), "killed", model_hash="old")
    before, release = dump(any_database, "killed"), loaded_release(any_database, "killed")
    new = write_release(tmp_path / "new", prefix="NEW", n_copies=3)
    url = any_database.engine.url.render_as_string(hide_password=False)
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(
        [sys.executable, "-c", KILLED, url, str(new)],
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root)},
        check=False,
    )
    assert done.returncode == -signal.SIGKILL
    assert dump(any_database, "killed") == before
    assert loaded_release(any_database, "killed") == release
    counts = load_release(any_database, new, "killed", model_hash="new")  # and the next load is not in its way
    assert counts["samples"] == 30


def test_load_reports_a_server_that_goes_away(any_database: Database, tmp_path: Path) -> None:
    from atlas.errors import DatabaseUnavailableError

    folder = write_release(tmp_path / "r")
    url = any_database.engine.url.set(drivername="postgresql").render_as_string(hide_password=False)
    copy = catalog_samples.copy_batches

    def cut_off(connection: psycopg.Connection[object], table: str, **arguments: object) -> int:
        with psycopg.connect(url, autocommit=True) as other:
            other.execute("SELECT pg_terminate_backend(%s)", [connection.info.backend_pid])
        return copy(connection, table, **arguments)  # type: ignore[arg-type]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(catalog_samples, "copy_batches", cut_off)
        with pytest.raises(DatabaseUnavailableError):
            load_release(any_database, folder, "cutoff", model_hash="m")
    assert loaded_release(any_database, "cutoff") is None
    assert load_release(any_database, folder, "cutoff", model_hash="m")["samples"] == 10


def test_stage_writes_the_same_bytes_twice_and_validates(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_release(tmp_path / "build")
    url = database.engine.url.render_as_string(hide_password=False)
    monkeypatch.setattr("atlas.model.checkpoint.model_hash", lambda path: "hash of " + path.name)
    written = []
    for attempt in ("one", "two"):
        request = BuildRequest(
            name="staged", home=tmp_path, model_dir=tmp_path / "model", settings=Settings(database_url=url)
        )
        out = tmp_path / attempt
        out.mkdir()
        ctx = StageContext(request=request, folder=folder, out=out, work=tmp_path)
        result = STAGE.run(ctx)
        STAGE.validate(ctx)
        assert result.n_out == 10
        written.append((out / "catalog.json").read_bytes())
    assert written[0] == written[1]
    loaded = loaded_release(database, "staged")
    assert loaded is not None
    assert json.loads(written[0])["content_key"] == loaded.content_key
    assert loaded.model_hash == "hash of model"
    assert len(lexical_search(database, "staged", "cardiomyopathy", k=5)) == 1
    remove_release(database, "staged")
    with pytest.raises(ArtifactError):
        STAGE.validate(ctx)
    shutil.rmtree(folder)


def test_names_of_series_may_hold_any_sign(database: Database, tmp_path: Path) -> None:
    folder = write_release(tmp_path / "r")
    strange = ['a "quoted" one', "{back\\slash, comma}", "NULL", " blank "]
    samples, series = (pq.read_table(folder / f"{name}.parquet") for name in ("samples", "series"))
    ids = pa.array([strange] * samples.num_rows, pa.list_(pa.string()))
    pq.write_table(
        samples.set_column(samples.schema.get_field_index("series_ids"), "series_ids", ids), folder / "samples.parquet"
    )
    pq.write_table(series.set_column(0, "series_id", pa.array(strange)), folder / "series.parquet")
    load_release(database, folder, "strange", model_hash="m")
    assert all(row[0]["series_ids"] == strange for row in dump(database, "strange")["samples"])


def test_two_loads_of_one_name_wait_for_each_other(database: Database, tmp_path: Path) -> None:
    folders = [write_release(tmp_path / str(n), n_copies=n) for n in (1, 2, 3)]
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(lambda folder: load_release(database, folder, "raced", model_hash="m"), folders))
    found = dump(database, "raced")
    loaded = loaded_release(database, "raced")
    assert loaded is not None
    assert {table: len(rows) for table, rows in found.items()} == loaded.counts
    with database.connect() as connection:  # nothing is left of those before
        partitions = set(
            connection.scalars(text("SELECT relid::text FROM pg_partition_tree('atlas.samples') WHERE isleaf"))
        )
        kept = set(connection.scalars(text("SELECT 'atlas.samples_' || release_id FROM atlas.releases")))
    assert partitions == kept
