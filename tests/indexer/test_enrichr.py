"""fetch_library against a local server that behaves as Enrichr does, bad days included."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from local_server import Reply, serve

from atlas.errors import InputError, NotFoundError, UpstreamError
from atlas.vocabulary import add_vocabulary
from indexer.sources.enrichr import fetch_library

GMT = "Heart Development (GO:1)\t\tMYH6\tMYH7\t\nLiver (GO:2)\t\tALB,1.0\t\nT\u2013cell\t\tCD3E\t\n"
STATISTICS = json.dumps(
    {
        "statistics": [
            {"libraryName": "GO_Test_2023", "numTerms": 3, "geneCoverage": 4, "genesPerTerm": 1.3},
            {"libraryName": "GO_Test_2021", "numTerms": 2, "geneCoverage": 4, "genesPerTerm": 1.3},
        ]
    }
)
WHOLE = Reply(GMT, content_type="text/plain")
COUNTS = Reply(STATISTICS)


def fetch(
    tmp_path: Path, library_replies: list[Reply], statistics: list[Reply] | None = None, name: str = "GO_Test_2023"
):
    replies = {"/Enrichr/geneSetLibrary": library_replies, "/Enrichr/datasetStatistics": statistics or [COUNTS]}
    with serve(replies) as script:
        options = {"timeout_s": 2.0, "attempts": 3, "wait_s": 0.0}
        result = fetch_library(name, base_url=f"{script.url}/Enrichr/", out=tmp_path / "new" / "library.gmt", **options)
    return result, script


def test_library_is_written_whole_and_read_as_a_vocabulary(tmp_path: Path) -> None:
    result, script = fetch(tmp_path, [WHOLE])
    assert (result.n_terms, result.counted) == (3, True)
    assert result.path.read_text(encoding="utf-8") == GMT
    assert "/Enrichr/geneSetLibrary?mode=text&libraryName=GO_Test_2023" in [path for path, _ in script.asked]
    assert add_vocabulary(tmp_path, result.path, name="GO_Test_2023").n_terms == 3


@pytest.mark.parametrize(
    "bad",
    [
        Reply("busy", 503),
        Reply("slow down", 429),
        Reply("<html>Checking your browser</html>", content_type="text/html"),
        Reply('{"error": "x"}'),
        Reply(GMT[:40]),
        Reply(GMT.splitlines(keepends=True)[0]),
        Reply(""),
        Reply("only a term\n"),
        Reply(b"\xff\xfe\n"),
        Reply("", drop=True),
        Reply(GMT, promise_more=100),
    ],
    ids=["503", "429", "html", "json", "cut-line", "partial", "empty", "no-genes", "not-utf8", "dropped", "short-body"],
)
def test_bad_answers_are_tried_again_and_never_kept(tmp_path: Path, bad: Reply) -> None:
    result, script = fetch(tmp_path, [bad, WHOLE])
    assert result.path.read_text(encoding="utf-8") == GMT
    assert sum("geneSetLibrary" in path for path, _ in script.asked) == 2
    result.path.unlink()
    with pytest.raises(UpstreamError):
        fetch(tmp_path, [bad])
    assert list((tmp_path / "new").iterdir()) == []


def test_attempts_are_bounded(tmp_path: Path) -> None:
    with serve({"/datasetStatistics": [COUNTS], "/geneSetLibrary": [Reply("busy", 500)]}) as script:
        with pytest.raises(UpstreamError, match="500"):
            fetch_library("GO_Test_2023", base_url=script.url, out=tmp_path / "x.gmt", attempts=3, wait_s=0.0)
        assert sum("geneSetLibrary" in path for path, _ in script.asked) == 3


def test_client_error_is_not_tried_again(tmp_path: Path) -> None:
    with serve({"/datasetStatistics": [COUNTS], "/geneSetLibrary": [Reply("gone", 404)]}) as script:
        with pytest.raises(UpstreamError, match="404"):
            fetch_library("GO_Test_2023", base_url=script.url, out=tmp_path / "x.gmt", attempts=3, wait_s=0.0)
        assert sum("geneSetLibrary" in path for path, _ in script.asked) == 1


@pytest.mark.parametrize("statistics", [Reply("busy", 503), Reply("<html/>"), Reply('{"other": 1}')])
def test_without_statistics_the_library_is_kept_uncounted(tmp_path: Path, statistics: Reply) -> None:
    result, _ = fetch(tmp_path, [WHOLE], [statistics])
    assert (result.n_terms, result.counted) == (3, False)


def test_unknown_library_names_near_ones(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="GO_Test_2023") as caught:
        fetch(tmp_path, [WHOLE], name="GO_Test_2025")
    assert caught.value.details["near_matches"] == ["GO_Test_2021", "GO_Test_2023"]
    with pytest.raises(InputError, match="empty"):
        fetch(tmp_path, [WHOLE], name=" ")


def test_server_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UpstreamError, match=r"cannot be reached at http://127\.0\.0\.1:9"):
        fetch_library("KEGG", base_url="http://127.0.0.1:9", out=tmp_path / "x.gmt", attempts=2, wait_s=0.0)
