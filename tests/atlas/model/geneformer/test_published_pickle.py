"""Published dictionaries are read without running them."""

from __future__ import annotations

import os
import pickle
import pickletools
import random
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from geneformer_models import toy_dictionaries

from atlas.errors import ArtifactError
from atlas.model.geneformer import published_pickle
from atlas.model.geneformer.published_pickle import parse_dictionary, read_published_dictionary


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_every_protocol_gives_the_numbers_that_were_pickled(protocol: int) -> None:
    given: dict[str, Any] = {"a": 1, "b": -2.5, "c": 300, "d": 70_000, "e": 2**40, "f": -1}
    given |= {
        f"n{kind}": np.dtype(kind).type(3) for kind in ("i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f4", "f8")
    }
    given |= {f"x{i}": np.float64(i / 7) for i in range(3_000)}
    read = parse_dictionary(pickle.dumps(given, protocol=protocol))
    assert read == given
    assert {type(value) for value in read.values()} == {int, float}


@pytest.mark.parametrize("module", ["numpy.core.multiarray", "numpy._core.multiarray"])
def test_files_of_either_numpy_generation_are_read(module: str) -> None:
    tokens, _ = toy_dictionaries(5)
    data = pickle.dumps(tokens, protocol=2)
    assert b"numpy._core.multiarray" in data
    assert parse_dictionary(data.replace(b"numpy._core.multiarray", module.encode())) == tokens


class _Runs:
    """Unpickled, it would make a file."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (self.path,)


class _Inherits(dict):  # type: ignore[type-arg]
    pass


_NESTED: Any = ()
for _ in range(50):
    _NESTED = (_NESTED,)

REFUSED: dict[str, Any] = {
    "list": [1, 2],
    "number": 3,
    "set": {"a"},
    "values are text": {"a": "b"},
    "values are bytes": {"a": b"b"},
    "values are none": {"a": None},
    "values are true": {"a": True},
    "values are lists": {"a": [1]},
    "values are dictionaries": {"a": {"b": 1}},
    "values are arrays": {"a": np.arange(3)},
    "values are complex": {"a": np.complex128(1)},
    "values are not finite": {"a": float("nan")},
    "values are infinite": {"a": np.float64("inf")},
    "values are big-endian": {"a": np.dtype(">f8").type(1), "b": np.array(1, dtype=">i4")},
    "values are dates": {"a": np.datetime64("2020-01-01")},
    "values are objects": {"a": np.array("x", dtype=object)},
    "keys are numbers": {1: 2},
    "keys are tuples": {("a",): 1},
    "keys are deep": {_NESTED: 1},
    "another kind of dictionary": _Inherits(a=1),
    "code as a value": {"a": print},
    "code as the file": eval,
}


@pytest.mark.parametrize("what", REFUSED)
@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
def test_anything_else_is_refused(what: str, protocol: int, tmp_path: Path) -> None:
    path = tmp_path / "d.pkl"
    path.write_bytes(pickle.dumps(REFUSED[what], protocol=protocol))
    with pytest.raises(ArtifactError, match="is not a dictionary from gene names to numbers") as failure:
        read_published_dictionary(path)
    assert failure.value.kind == "corrupt"


@pytest.mark.parametrize("protocol", range(6))
def test_code_in_a_file_does_not_run(protocol: int, tmp_path: Path) -> None:
    trap = tmp_path / "trap"
    path = tmp_path / "d.pkl"
    path.write_bytes(pickle.dumps({"ENSG00000000003": _Runs(str(trap)), "b": 1}, protocol=protocol))
    with pytest.raises(ArtifactError, match=r"names the code '(posix|nt|os)'\.'mkdir'"):
        read_published_dictionary(path)
    assert not trap.exists()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"junk",
        b"\x80\x04.",
        b"\x80\x04}",  # no end
        b"\x80\x04}(\x8c\x01aK\x01u",  # no end either
        b"\x80\x04u.",  # stores into nothing
        b"\x80\x04(u.",
        b"\x80\x04}}.",  # two values
        b"\x80\x04}R.",  # calls with nothing
        b"\x80\x04}h\x07.",  # reads what was never stored
        b"\x80\x04}(\x8c\x01au.",  # a key without a value
        b"\x80\x04}\x8d\xff\xff\xff\xff\xff\xff\xff\x7fa.",  # a text as large as memory
        b"\x80\x04\x96\xff\xff\xff\xff\xff\xff\xff\x7fa.",  # an array of bytes as large as memory
        b"\x80\x04}r\xff\xff\xff\xff\x8d\x00\x00\x00\x00\x00\x00\x00\x01.",
        b"cos\nsystem\n(S'true'\ntR.",
        b"\x80\x02c_codecs\nencode\nX\x01\x00\x00\x00aX\x05\x00\x00\x00utf-8\x86R.",
        b"\x80\x02cnumpy\ndtype\nX\x02\x00\x00\x00O8\x89\x88\x87R.",
        b"\x80\x02cnumpy\ndtype\nX\x02\x00\x00\x00f8\x89\x88\x87R(K\x03X\x01\x00\x00\x00<NNNK\x07K\x07K\x3ftb.",
    ],
)
def test_damaged_and_forged_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="."):
        parse_dictionary(data)


def test_no_damage_does_more_than_raise() -> None:
    """Cut and changed files either are refused or still are a dictionary of numbers."""
    tokens, medians = toy_dictionaries(40)
    chance = random.Random(0)
    for given in (pickle.dumps(tokens), pickle.dumps(medians, protocol=2)):
        for _ in range(400):
            data = bytearray(given)
            for _ in range(chance.randint(1, 4)):
                data[chance.randrange(len(data))] = chance.randrange(256)
            try:
                read = parse_dictionary(bytes(data[: chance.randint(1, len(data))] if chance.random() < 0.2 else data))
            except ValueError:
                continue
            assert all(type(key) is str and type(value) in (int, float) for key, value in read.items())


def test_a_large_memo_number_costs_no_memory() -> None:
    data = b"\x80\x04}r\xff\xff\xff\xff(\x8c\x01aK\x01u."
    assert "LONG_BINPUT" in {opcode.name for opcode, _, _ in pickletools.genops(data)}
    assert parse_dictionary(data) == {"a": 1}


def test_missing_and_oversized_files_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ArtifactError, match=r"none\.pkl is missing"):
        read_published_dictionary(tmp_path / "none.pkl")
    (tmp_path / "d.pkl").write_bytes(pickle.dumps({"a": 1}))
    monkeypatch.setattr(published_pickle, "MAX_BYTES", 4)
    with pytest.raises(ArtifactError, match="larger than 4 bytes"):
        read_published_dictionary(tmp_path / "d.pkl")


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "n", "gene", "value"),
    [
        ("token_dictionary_gc30M.pkl", 25_426, "ENSG00000154710", 9_743),
        ("gene_median_dictionary_gc30M.pkl", 25_424, "ENSG00000000003", 2.001186019549122),
        ("token_dictionary_gc104M.pkl", 20_275, "<eos>", 3),
        ("gene_median_dictionary_gc104M.pkl", 42_005, "ENSG00000000003", None),
    ],
)
def test_true_dictionaries_are_read_as_pickle_reads_them(
    name: str, n: int, gene: str, value: float | None, data_root: Path
) -> None:
    path = data_root / "genes" / "geneformer_original" / name
    read = read_published_dictionary(path)
    assert len(read) == n
    assert value is None or read[gene] == value
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # NumPy's own renamed module
        assert read == pickle.loads(path.read_bytes())
