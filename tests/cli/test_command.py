"""The command as a user runs it: arguments in, lines out, exit status."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tiny_release import human_genes

from atlas.atlas import Atlas
from atlas.settings import Settings

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[2]


def geo_atlas(*args: str | bytes, **variables: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from cli.main import main; main()", *args]
    return subprocess.run(
        command,
        cwd=ROOT,
        capture_output=True,
        encoding="utf-8",
        env={**os.environ, **variables},
        timeout=120,
        check=False,
    )


def test_answer_is_whole_in_a_locale_without_its_letters(tiny_home: Path) -> None:
    run = geo_atlas("search", "c\u0153ur heart", "-k", "3", "--home", str(tiny_home), PYTHONIOENCODING="ascii")
    assert run.returncode == 0, run.stderr
    assert "c\u0153ur heart" in run.stdout
    broken = geo_atlas("search", b"he\xffart", "-k", "3", "--home", str(tiny_home))
    assert broken.returncode == 0, broken.stderr


def test_search_json_prints_one_hit_a_line_and_nothing_else(tiny_home: Path) -> None:
    run = geo_atlas("search", "liver", "--home", str(tiny_home), "-k", "12", "--json")
    assert run.returncode == 0, run.stderr
    hits = [json.loads(line) for line in run.stdout.splitlines()]
    assert [hit["rank"] for hit in hits] == list(range(1, 13))
    assert {"rank", "accession", "series", "score", "percentile", "no_match"} <= set(hits[0])
    assert all(hit["score"] >= after["score"] for hit, after in zip(hits, hits[1:], strict=False))
    assert not hits[0]["no_match"]


def test_command_gives_the_answer_of_the_library(tiny_home: Path, tiny_settings: Settings) -> None:
    run = geo_atlas("search", "cardiac muscle", "--home", str(tiny_home), "-k", "64", "--json")
    hits = [json.loads(line) for line in run.stdout.splitlines()]
    expected = Atlas.open(tiny_settings).search_text("cardiac muscle", k=64).hits
    assert [(hit["accession"], hit["percentile"]) for hit in hits] == [
        (hit.sample.accession, hit.percentile) for hit in expected
    ]
    # a phrase embedded by another number of threads may differ in its last bits
    assert [hit["score"] for hit in hits] == pytest.approx([hit.score for hit in expected], abs=2e-6)


def test_search_that_finds_nothing_says_so_on_stderr_and_keeps_its_list(tiny_home: Path) -> None:
    run = geo_atlas("search", "quarterly invoice for office furniture", "--home", str(tiny_home), "-k", "5", "--json")
    hits = [json.loads(line) for line in run.stdout.splitlines()]
    assert len(hits) == 5
    assert all(hit["no_match"] for hit in hits)
    assert "Nothing in this atlas matches" in run.stderr


@pytest.mark.parametrize(
    ("args", "status", "said"),
    [
        (("search", ""), 2, "phrase is empty"),
        (("search", "x" * 10_000), 2, "10000 characters"),
        (("search", "heart", "-k", "0"), 2, "expected 1 to 10000"),
        (("search", "heart", "-k", "999999"), 2, "expected 1 to 10000"),
        (("search", "heart", "--release", "../../etc"), 2, "cannot name a release"),
        (("neighbors", "GSM90000001"), 1, "Near: GSM9000000"),
        (("cluster", "999"), 1, "no cluster 999"),
        (("transcriptome", "/nowhere/x.tsv"), 2, "Cannot read"),
        (("serch", "heart"), 2, "No such command"),
    ],
)
def test_bad_questions_get_one_sentence_and_a_status(
    tiny_home: Path, args: tuple[str, ...], status: int, said: str
) -> None:
    extra = () if args[0] == "serch" else ("--home", str(tiny_home))
    run = geo_atlas(*args, *extra)
    assert run.returncode == status, run.stderr
    assert said in run.stderr
    assert run.stdout == ""
    assert "Traceback" not in run.stderr


@pytest.mark.parametrize("phrase", ["'; DROP TABLE samples; --", "<b>heart</b>", "100% [bold]heart[/bold]"])
def test_odd_phrases_are_only_text(tiny_home: Path, phrase: str) -> None:
    run = geo_atlas("search", phrase, "--home", str(tiny_home), "-k", "3")
    assert run.returncode == 0, run.stderr
    assert phrase in run.stdout


def test_empty_home_says_how_to_begin(tmp_path: Path) -> None:
    run = geo_atlas("search", "heart", "--home", str(tmp_path))
    assert run.returncode == 1
    assert "geo-atlas demo" in run.stderr


def test_own_table_is_answered_with_its_coverage(tiny_home: Path, tmp_path: Path) -> None:
    path = tmp_path / "mine.tsv.gz"
    rows = [f"{symbol}\t{4000 if symbol in ('ALB', 'APOA1', 'TTR', 'FGA') else 3}" for _, symbol in human_genes()]
    path.write_bytes(gzip.compress(("gene\tmine\n" + "\n".join(rows) + "\n").encode()))
    run = geo_atlas("transcriptome", str(path), "--home", str(tiny_home), "-k", "5")
    assert run.returncode == 0, run.stderr
    assert "genes recognised by symbol" in run.stderr
    assert "Place on the map" in run.stderr
    lines = geo_atlas("transcriptome", str(path), "--home", str(tiny_home), "-k", "5", "--json").stdout.splitlines()
    assert {json.loads(line)["tissue"] for line in lines} == {"liver"}


def test_clusters_and_cluster_and_sample_answer_in_json(tiny_home: Path) -> None:
    home = ("--home", str(tiny_home), "--json")
    clusters = [json.loads(line) for line in geo_atlas("clusters", *home).stdout.splitlines()]
    assert sum(one["n_samples"] for one in clusters) == 64
    detail = json.loads(geo_atlas("cluster", "0", *home).stdout)
    assert detail["summary"]["cluster"] == 0
    assert detail["release"] == "tiny"
    assert json.loads(geo_atlas("sample", "gsm9000000", *home).stdout)["title"] == "heart 0"


def test_dry_run_says_what_would_run_and_writes_no_build(tmp_path: Path, tiny_counts: Path) -> None:
    args = ("build", "--counts", str(tiny_counts), "--name", "x", "--home", str(tmp_path), "--dry-run", "--json")
    run = geo_atlas(*args)
    assert run.returncode == 0, run.stderr
    steps = [json.loads(line) for line in run.stdout.splitlines()]
    assert steps[0]["stage"] == "ingest_samples"
    assert {step["action"] for step in steps} == {"run"}
    assert not (tmp_path / "builds").exists()


@pytest.mark.parametrize(
    ("option", "said"),
    [
        (("--leiden", "louvain"), "no clustering engine 'louvain'"),
        (("--resolution", "0"), "resolution is 0.0"),
        (("--library", "nosuch"), "no vocabulary 'nosuch'"),
        (("--unit", "kg"), "expected one of counts"),
        (("--force", "embed"), "no such stage"),
    ],
)
def test_build_options_are_refused_before_the_first_stage(
    tmp_path: Path, tiny_counts: Path, option: tuple[str, str], said: str
) -> None:
    run = geo_atlas("build", "--counts", str(tiny_counts), "--name", "x", "--home", str(tmp_path), *option)
    assert run.returncode in (1, 2)
    assert said in run.stderr
    assert not (tmp_path / "builds").exists()


def test_release_commands(tiny_home: Path) -> None:
    listed = json.loads(geo_atlas("release", "list", "--home", str(tiny_home), "--json").stdout)
    assert listed["name"] == "tiny"
    assert listed["current"]
    assert "are as published" in geo_atlas("release", "verify", "--home", str(tiny_home)).stderr
    refused = geo_atlas("release", "remove", "tiny", "--home", str(tiny_home))
    assert refused.returncode == 2
    assert "current release" in refused.stderr


def test_unreadable_release_is_listed_with_its_problem(tmp_path: Path) -> None:
    for name in ("broken", "newer"):
        (tmp_path / "releases" / name).mkdir(parents=True)
    (tmp_path / "releases" / "broken" / "manifest.json").write_text("{")
    (tmp_path / "releases" / "newer" / "manifest.json").write_text('{"schema_version": "9.0"}')
    run = geo_atlas("release", "list", "--home", str(tmp_path), "--json")
    assert run.returncode == 0, run.stderr
    problems = [json.loads(line)["problem"] for line in run.stdout.splitlines()]
    assert "not readable JSON" in problems[0]
    assert "schema 9.0" in problems[1]
    assert "schema 9.0" in geo_atlas("release", "list", "--home", str(tmp_path)).stdout


def test_doctor_reports_every_check(tiny_settings: Settings, tiny_home: Path) -> None:
    run = geo_atlas("doctor", "--home", str(tiny_home), "--json")
    checks = {json.loads(line)["check"] for line in run.stdout.splitlines()}
    assert {"geo-atlas", "faiss", "torch", "model", "memory", "home", "database", "release"} <= checks


def test_vocabularies_can_be_listed_and_added(tmp_path: Path) -> None:
    terms = tmp_path / "mine.gmt"
    terms.write_text("heart failure\t\tNPPA\tNPPB\nfibrosis\t\tCOL1A1\n")
    home = ("--home", str(tmp_path / "home"))
    added = geo_atlas("vocabulary", "add", str(terms), *home)
    assert added.returncode == 0, added.stderr
    assert "Added mine: 2 terms" in added.stderr
    listed = [json.loads(line) for line in geo_atlas("vocabulary", "list", *home, "--json").stdout.splitlines()]
    assert {"vocabulary": "mine", "n_terms": 2, "packaged": False, "keywords": True} in listed
    assert {"vocabulary": "omim_expanded", "n_terms": 187, "packaged": True, "keywords": False} in listed
    assert "omim_expanded" in geo_atlas("vocabulary", "list", *home).stdout


def test_closed_pipe_is_no_error(tiny_home: Path) -> None:
    command = f"{sys.executable} -c 'from cli.main import main; main()' search liver --home {tiny_home} -k 64 --json | head -1"
    run = subprocess.run(["bash", "-c", command], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert json.loads(run.stdout)["rank"] == 1
    assert "Traceback" not in run.stderr
