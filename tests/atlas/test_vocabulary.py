"""Vocabularies: GMT and term lists, what is counted, what is refused, and what travels with the package."""

from __future__ import annotations

from pathlib import Path

import pytest

import atlas.vocabulary as vocabulary_module
from atlas.errors import InputError, NotFoundError, TooLargeError
from atlas.vocabulary import (
    add_vocabulary,
    background_phrases,
    keyword_vocabularies,
    list_vocabularies,
    packaged_vocabularies,
    read_terms,
    readable_term,
)


def _file(folder: Path, text: str | bytes, name: str = "mine.gmt") -> Path:
    path = folder / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def test_gmt_keeps_terms_and_ignores_genes(tmp_path: Path) -> None:
    found = read_terms(_file(tmp_path, "Heart\t\tMYH6\tMYH7\nLiver\tdesc\tALB,1.0\n"))
    assert found.terms == ("Heart", "Liver")
    assert (found.n_blank, found.n_duplicates) == (0, 0)


def test_list_with_blank_and_repeated_lines_is_counted(tmp_path: Path) -> None:
    found = read_terms(_file(tmp_path, "\ufeffliver\r\n\r\n  \nliver \nT  cell\n\tgene only\nSj\u00f6gren"))
    assert found.terms == ("liver", "T cell", "Sj\u00f6gren")
    assert (found.n_blank, found.n_duplicates) == (3, 1)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "names no term"),
        (b"\n \n\t\t\n", "names no term"),
        (b"caf\xe9\n", "not UTF-8"),
        (b"heart\0\x01\n", "binary"),
        (b"x" * 1_001 + b"\n", "1,001 characters"),
    ],
)
def test_files_that_are_no_vocabulary_are_refused(tmp_path: Path, content: bytes, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_terms(_file(tmp_path, content))


def test_missing_or_large_files_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="does not exist"):
        read_terms(tmp_path / "none.gmt")
    path = _file(tmp_path, "a\nb\nc\n")
    monkeypatch.setattr(vocabulary_module, "MAX_TERMS", 2)
    with pytest.raises(TooLargeError, match="more than 2 terms"):
        read_terms(path)
    monkeypatch.setattr(vocabulary_module, "MAX_FILE_BYTES", 3)
    with pytest.raises(TooLargeError, match="6 bytes"):
        read_terms(path)


@pytest.mark.parametrize(
    ("term", "readable"),
    [
        ("Heart Development (GO:0007507)", "Heart Development"),
        ("'De Novo' Post-Translational Protein Folding (GO:0051084)", "'De Novo' Post-Translational Protein Folding"),
        ("Acne C0702166 human GSE10432 sample 297", "Acne"),
        ("acute myeloid leukemia DOID-9119 human GSE9476 sample 782", "acute myeloid leukemia"),
        ("Tonsil-L2-VEGFA+", "Tonsil VEGFA+"),
        ("Lung v2 (HLCA)-ann_finest_level-AT1", "Lung AT1"),
        (
            "Mouse Motor Cortex-cluster-Vip+ Mybpc1+ GABAergic neuron_2",
            "Mouse Motor Cortex Vip+ Mybpc1+ GABAergic neuron",
        ),
        ("T-cell", "T-cell"),
        ("hsa_mir_1", "hsa_mir_1"),
        ("(GO:0007507)", "(GO:0007507)"),
    ],
)
def test_readable_term_cuts_ids_and_nothing_else(term: str, readable: str) -> None:
    assert readable_term(term) == readable


def test_packaged_vocabularies_have_the_published_sizes() -> None:
    sizes = {name: len(read_terms(path).terms) for name, path in packaged_vocabularies().items()}
    assert sizes["omim_expanded"] == 187
    assert sizes["GO_Biological_Process_2023"] == 5_407
    assert len(sizes) == 13
    assert sum(sizes.values()) == 11_450 + 187


def test_background_phrases_are_many_and_no_vocabulary() -> None:
    phrases = background_phrases()
    assert len(phrases) >= 500
    assert "background_phrases" not in packaged_vocabularies()


def test_added_vocabulary_is_listed_and_matched(tmp_path: Path) -> None:
    made = add_vocabulary(tmp_path, _file(tmp_path, "Heart\t\tMYH6\nHeart\t\tMYH7\nLiver\t\tALB\n"))
    assert (made.library, made.n_terms, made.packaged) == ("mine", 2, False)
    assert made.path.read_text() == "Heart\nLiver\n"
    assert "mine" in {vocabulary.library for vocabulary in list_vocabularies(tmp_path)}
    matched = keyword_vocabularies(tmp_path)
    assert "mine" in matched
    assert "omim_expanded" not in matched
    assert list(keyword_vocabularies(tmp_path, ("omim_expanded", "mine"))) == ["mine", "omim_expanded"]


def test_adding_again_replaces_the_terms(tmp_path: Path) -> None:
    add_vocabulary(tmp_path, _file(tmp_path, "a\nb\n"), name="x")
    assert add_vocabulary(tmp_path, _file(tmp_path, "c\n"), name="x").n_terms == 1
    assert [path.name for path in (tmp_path / "vocabularies").iterdir()] == ["x.txt"]


@pytest.mark.parametrize("name", ["../x", "", ".hidden", "a/b", "GO_Biological_Process_2023", "background_phrases"])
def test_unusable_names_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match="--name"):
        add_vocabulary(tmp_path, _file(tmp_path, "a\n"), name=name)
    assert not (tmp_path / "vocabularies").exists()


def test_unknown_library_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="nothing_here"):
        keyword_vocabularies(tmp_path, ("nothing_here",))
