"""The documentation is held against the program."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from atlas import errors
from atlas.settings import Settings

ROOT = Path(__file__).resolve().parents[1]
CONFIGURATION = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", sorted(Settings.model_fields))
def test_setting_has_a_heading_with_its_variable(name: str) -> None:
    section = CONFIGURATION.split(f"\n## {name}\n")
    assert len(section) == 2, f"docs/configuration.md has no heading for {name}"
    assert f"`GEO_ATLAS_{name.upper()}`" in section[1].split("\n## ")[0]


def test_configuration_has_no_heading_without_a_setting() -> None:
    assert set(re.findall(r"^## (\w+)$", CONFIGURATION, re.MULTILINE)) == set(Settings.model_fields)


@pytest.mark.parametrize(
    "code",
    sorted(
        {c.code for c in vars(errors).values() if isinstance(c, type) and issubclass(c, errors.AtlasError)}
        - {"atlas_error"}
    ),
)
def test_error_code_has_a_heading(code: str) -> None:
    assert f"\n## {code}\n" in (ROOT / "docs" / "errors.md").read_text(encoding="utf-8")


def test_schema_lists_every_output_of_the_plan() -> None:
    from indexer.plan import STAGES

    text = (ROOT / "docs" / "schema.md").read_text(encoding="utf-8")
    for stage in STAGES:
        for output in stage.outputs:
            assert f"`{output}`" in text or f"`{output}/`" in text, f"docs/schema.md does not name {output}"


def test_no_document_names_a_place_of_one_machine() -> None:
    for path in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]:
        assert not re.search(r"(?<![\w.])/(work|root|home/\w+)/", path.read_text(encoding="utf-8")), path


def test_links_between_documents_lead_somewhere() -> None:
    for path in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]:
        for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", path.read_text(encoding="utf-8")):
            if not target.startswith(("http://", "https://", "mailto:")):
                assert (path.parent / target).exists(), f"{path.name} links to {target}"
