"""One frozen settings object: default < ``geo-atlas.toml`` < ``GEO_ATLAS_*`` < command-line flag.

Loaded in ``cli.main`` and ``api.main`` only; everything below receives it as an argument.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, TomlConfigSettingsSource

from atlas.errors import ConfigError


class Settings(BaseSettings):
    """Every setting with its default, bounds and help; ``docs/configuration.md`` has a heading for each."""

    model_config = SettingsConfigDict(
        env_prefix="GEO_ATLAS_",
        toml_file="geo-atlas.toml",
        frozen=True,
        extra="forbid",
        validate_default=True,
        env_ignore_empty=True,  # compose files hand on variables that nobody set
    )

    home: Path = Field(
        Path("~/.geo-atlas"), description="Folder that holds releases, builds and the embedded database."
    )

    database_url: SecretStr | None = Field(
        None,
        description="External Postgres (15 or newer), e.g. postgresql://user:password@host/db. Empty: embedded server.",
    )
    database_timeout_s: float = Field(10.0, gt=0, le=600, description="Longest a database statement may take, seconds.")
    database_start_timeout_s: float = Field(
        120.0, gt=0, le=86_400, description="Longest wait for the embedded server to start or recover, seconds."
    )

    search_engine: Literal["faiss", "milvus", "torch"] = Field(
        "faiss", description="Engine that finds samples: faiss, milvus or torch."
    )
    torch_device: str = Field("cuda", description="Device of the engine torch, such as cuda or cuda:1.")
    milvus_uri: str | None = Field(None, description="Address of Milvus, e.g. http://localhost:19530.")
    milvus_token: SecretStr | None = Field(None, description="Token for Milvus, user:password or a key; empty: none.")
    milvus_timeout_s: float = Field(10.0, gt=0, le=3_600, description="Longest wait for one answer of Milvus, seconds.")

    max_k: int = Field(10_000, ge=1, le=100_000, description="Most hits one question may ask for.")
    query_max_chars: int = Field(2_000, ge=1, le=100_000, description="Longest phrase, characters.")
    upload_max_bytes: int = Field(64 * 2**20, ge=1, description="Largest upload, bytes as sent.")
    upload_max_expanded_bytes: int = Field(1024 * 2**20, ge=1, description="Largest upload once decompressed, bytes.")
    upload_max_samples: int = Field(1_000, ge=1, description="Most columns (samples) in one uploaded expression table.")

    api_host: str = Field("127.0.0.1", description="Address the API listens on.")
    api_port: int = Field(8000, ge=0, le=65_535, description="Port of the API.")
    ui_host: str = Field("127.0.0.1", description="Address the pages listen on.")
    ui_port: int = Field(8501, ge=0, le=65_535, description="Port of the pages.")
    api_url: str | None = Field(None, description="Where the pages find the API; default: api_host and api_port.")
    public_api_url: str | None = Field(None, description="Where browsers find the API; default: as the pages find it.")

    interpreter: Path | None = Field(
        None, description="Folder of the interpreter that answers POST /v1/cells/interpret; empty: none does."
    )

    interpreter_reader: str | None = Field(
        None, description="Folder or hub id of the interpreter's language model, if it was moved since training."
    )
    interpreter_domain: Path | None = Field(
        None, description="Folder of the interpreter's joint model, if it was moved since training."
    )

    admin_token: SecretStr | None = Field(
        None,
        min_length=16,
        description="Token that a request must carry to edit labels, 16 characters or more; empty: edits are off.",
    )
    jobs_per_client: int = Field(2, ge=0, le=1_000, description="Jobs one client may have waiting or running.")
    job_max_terms: int = Field(100_000, ge=1, le=500_000, description="Most terms in an ad-hoc scan.")
    job_expiry_days: float = Field(30.0, gt=0, le=3_650, description="Days until the result of a job is removed.")
    pinned_releases: int = Field(1, ge=0, le=20, description="Older releases kept open for pinned questions.")
    log_format: Literal["text", "json"] = Field("text", description="How services write their log: text or json.")

    llm_base_url: str | None = Field(None, description="OpenAI-compatible endpoint; empty: no language model is used.")
    llm_model: str | None = Field(None, description="Model name at that endpoint.")
    llm_api_key: SecretStr | None = Field(None, description="Key for that endpoint.")
    llm_timeout_s: float = Field(60.0, gt=0, le=3_600, description="Longest wait for one reply, seconds.")

    enrichr_url: str = Field("https://maayanlab.cloud/Enrichr", description="Base address of Enrichr.")

    threads: int = Field(0, ge=0, le=1_024, description="Threads for numerical work; 0: as many as there are cores.")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Order the sources: flag, environment, file."""
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls)

    @property
    def home_path(self) -> Path:
        """The home folder, absolute, ``~`` expanded."""
        return self.home.expanduser().absolute()


def load_settings(**flags: Any) -> Settings:
    """Read the settings; a flag that is ``None`` counts as not given.

    Raises
    ------
    ConfigError
        If a value is out of range or a key is unknown; the message names each and never repeats a secret.
    """
    given = {key: value for key, value in flags.items() if value is not None}
    try:
        return Settings(**given)
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors(include_input=False, include_url=False)
        )
        raise ConfigError(
            f"The settings are not valid: {problems}. Correct the flag, the GEO_ATLAS_* variable or geo-atlas.toml."
        ) from None
