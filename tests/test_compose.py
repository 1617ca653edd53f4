"""The container files, read as YAML and text: no engine is needed, so a slip is found before anyone builds."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from atlas.settings import Settings
from cli import children
from cli.main import app

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    return dict(yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8")))


def test_services_are_those_of_an_installation(compose: dict[str, Any]) -> None:
    services = compose["services"]
    assert set(services) == {"postgres", "api", "ui", "worker", "indexer", "milvus"}
    assert services["indexer"]["profiles"] == ["indexer"]
    assert services["milvus"]["profiles"] == ["scale"]
    assert all("profiles" not in services[name] for name in ("postgres", "api", "ui", "worker"))


def test_every_setting_named_in_an_environment_exists(compose: dict[str, Any]) -> None:
    known = {f"GEO_ATLAS_{name.upper()}" for name in Settings.model_fields}
    for service in compose["services"].values():
        given = {name for name in service.get("environment", {}) if name.startswith("GEO_ATLAS_")}
        assert given <= known


def test_the_release_volume_is_read_only_where_it_is_served(compose: dict[str, Any]) -> None:
    services = compose["services"]
    assert services["api"]["volumes"] == ["atlas:/data:ro"]
    assert services["worker"]["volumes"] == ["atlas:/data"]  # results of jobs
    assert "atlas:/data" in services["indexer"]["volumes"]
    assert "volumes" not in services["ui"]
    used = {
        volume.split(":")[0]
        for s in services.values()
        for volume in s.get("volumes", [])
        if not volume.startswith(("$", "."))
    }
    assert used == set(compose["volumes"])


def test_ports_are_published_on_this_machine_alone(compose: dict[str, Any]) -> None:
    for service in compose["services"].values():
        for port in service.get("ports", []):
            assert port.startswith("127.0.0.1:")


def test_the_pages_get_no_secret(compose: dict[str, Any]) -> None:
    given = compose["services"]["ui"]["environment"]
    assert set(given) == {"GEO_ATLAS_UI_HOST", "GEO_ATLAS_API_URL", "GEO_ATLAS_PUBLIC_API_URL"}


def test_who_waits_for_whom_exists_and_has_a_health_check(compose: dict[str, Any]) -> None:
    services = compose["services"]
    for service in services.values():
        for name, condition in service.get("depends_on", {}).items():
            assert condition == {"condition": "service_healthy"}
            assert "healthcheck" in services[name]


def test_commands_are_commands_of_this_program(compose: dict[str, Any]) -> None:
    ours = {name: s for name, s in compose["services"].items() if s["image"].startswith("geo-atlas:")}
    assert len(ours) == 4
    for name, service in ours.items():
        if "entrypoint" in service:
            assert service["entrypoint"] == ["python", "-P", "-m", "cli.children"]
            assert service["command"] == [name]
            assert hasattr(children, f"run_{name}")
        elif "command" in service:
            command, *options = service["command"]
            result = CliRunner().invoke(app, [command, "--help"])
            assert result.exit_code == 0, result.output
            assert all(option in re.sub(r"\x1b\[[0-9;]*m", "", result.output) for option in options)


def test_milvus_is_pinned_and_found_under_its_name(compose: dict[str, Any]) -> None:
    """The image cannot be started by a test; what can be read of it is held to what the program asks."""
    milvus = compose["services"]["milvus"]
    assert re.fullmatch(r"milvusdb/milvus:v\d+\.\d+\.\d+", milvus["image"])
    assert milvus["ports"][0].endswith(":19530")
    for name in ("api", "worker", "indexer"):
        environment = compose["services"][name]["environment"]
        assert environment["GEO_ATLAS_MILVUS_URI"].endswith("http://milvus:19530}")
        assert environment["GEO_ATLAS_SEARCH_ENGINE"] is None  # faiss unless the caller says otherwise
    (mounted,) = milvus["configs"]
    assert mounted["target"] == milvus["environment"]["ETCD_CONFIG_PATH"]
    etcd = yaml.safe_load(compose["configs"][mounted["source"]]["content"])
    assert etcd["listen-client-urls"] == "http://0.0.0.0:2379"
    assert milvus["environment"]["ETCD_DATA_DIR"].startswith(milvus["volumes"][0].split(":")[1])


def test_gpu_override_changes_services_that_exist(compose: dict[str, Any]) -> None:
    override = yaml.safe_load((ROOT / "docker-compose.gpu.yml").read_text(encoding="utf-8"))
    assert set(override["services"]) == {"api", "indexer"}
    for service in override["services"].values():
        assert service["build"]["args"]["DEVICE"] == "gpu"
        (device,) = service["deploy"]["resources"]["reservations"]["devices"]
        assert device["capabilities"] == ["gpu"]


def test_dockerfile_copies_what_exists_and_ends_as_an_unprivileged_user() -> None:
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
    instructions = [shlex.split(line, comments=True) for line in text.splitlines() if re.match(r"[A-Z]+ ", line)]
    copied = [source for line in instructions if line[0] == "COPY" for source in line[1:-1]]
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").split()
    for source in copied:
        assert (ROOT / source).exists(), source
        assert source not in ignored
    users = [line[1] for line in instructions if line[0] == "USER"]
    assert users
    assert users[-1] != "root"
    assert {"atlas", "indexer", "api", "ui", "cli", "migrations", "starter"} <= set(copied)
