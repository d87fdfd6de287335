"""Every setting, in one frozen class. Read once, at the entry points, and passed down.

Each field is also an environment variable: `DISPATCHER_` and the field's name in capitals. Where that is unset, a file
of that name in small letters in `/run/secrets` is read, as Docker and Kubernetes mount them.
`docs/settings.md` is made from this file by `make settings-doc`.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError

from dispatcher.errors import SettingsError

T = TypeVar("T")

#: Before a field's name in the environment.
PREFIX: Final = "DISPATCHER_"

#: Where containers find their secrets as files. The environment goes before them.
SECRETS_DIR = Path("/run/secrets")


class Settings(BaseModel):
    """Where the server is, and every bound and interval. The defaults suit one machine and a small fleet alike.

    What is not given is taken from the environment. (Reading it needs no library: pydantic-settings brings the clients
    of three clouds' key stores, two megabytes in every process of a pool.)
    """

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)

    url: SecretStr | None = Field(
        default=None,
        description="The Redis/Valkey server that holds the ledger: `redis://[user:password@]host:port/db`, "
        "`rediss://…` for TLS, `redis+socket:///path` for a Unix socket. "
        "Unset: an embedded server of our own, for development.",
    )
    broker_url: SecretStr | None = Field(
        default=None, description="The Celery broker, any that kombu knows. Unset: the same server as `url`."
    )
    namespace: str = Field(
        default="dispatcher",
        pattern=r"^[a-z0-9][a-z0-9_.-]{0,62}$",
        description="First part of every key, as a Redis Cluster hash tag: `{dispatcher}:job:…`. "
        "Two deployments on one server need two namespaces; plain Celery clients of any but the default one set "
        "`broker_transport_options={'global_keyprefix': '{dispatcher}:queue:'}`, with its name.",
    )
    result_prefix: str = Field(
        default="",
        description="Put before Celery's own result keys (`celery-task-meta-<id>`). Empty: a plain Celery app finds "
        "the results. On a Redis Cluster set it, and a namespace other than the default one, whose queues have no "
        "prefix: for `prod` it is `{prod}:`. Give Celery the same `global_keyprefix`.",
    )
    app: str = Field(
        default="tasks:registry",
        description="Where the registry is, as `module:attribute`; looked up from the current folder.",
    )
    state_dir: Path = Field(
        default=Path(".dispatcher"),
        description="The embedded server's data, pid file and log; the dashboard's password and log; a worker's "
        "health file.",
    )

    lease_seconds: float = Field(
        default=10, ge=0.5, le=3600, description="How long a worker may be silent before its job is given to another."
    )
    sweep_interval_seconds: float = Field(
        default=1, ge=0.05, le=60, description="How often due jobs are looked at. One node sweeps at a time."
    )
    republish_grace_seconds: float = Field(
        default=5,
        ge=0.1,
        le=3600,
        description="A wake-up is taken for lost when a job accepted this much later has started, or when "
        "its queue has been empty for so long.",
    )
    max_lost_attempts: int = Field(
        default=3, ge=1, description="A job whose worker died this often is given up: it may be what kills them."
    )
    kill_grace_seconds: float = Field(
        default=2, ge=0.1, description="How long a function told to stop may clean up before its process is ended."
    )

    default_timeout_seconds: float = Field(
        default=300, gt=0, description="Longest run of one attempt, for functions that do not set `timeout`."
    )
    default_deadline_seconds: float = Field(
        default=86_400, gt=0, description="From acceptance to expiry, for calls and functions that set no deadline."
    )
    calls_at_once: int = Field(
        default=100,
        ge=1,
        le=10_000,
        description="How many calls of one job run at once where its function is an `async def` that does not set "
        "`at_once`.",
    )
    dispatch_timeout_seconds: float = Field(
        default=5, gt=0, description="How long a dispatch tries to reach the server before it raises."
    )
    outage_seconds: float = Field(
        default=30,
        gt=0,
        description="How long a wait for an outcome, or a worker that has one, bears a server that does not answer.",
    )
    poll_interval_seconds: float = Field(
        default=2, ge=0.05, description="How often a collector reads the store for outcomes that were not announced."
    )

    result_ttl_seconds: int = Field(default=86_400, ge=1, description="How long outcomes are kept.")
    idempotency_ttl_seconds: int = Field(
        default=86_400, ge=1, description="How long an idempotency key is remembered, counted from the job's deadline."
    )
    dead_letter_ttl_seconds: int = Field(default=7 * 86_400, ge=1, description="How long dead letters are kept.")
    max_dead_letters: int = Field(default=10_000, ge=1, description="Dead letters kept; the oldest go first.")
    max_backlog: int = Field(default=1_000_000, ge=1, description="Waiting jobs a queue holds before it refuses more.")
    max_message_bytes: int = Field(
        default=1024 * 1024, ge=1024, description="A larger message on the queue is garbage, and never reaches Celery."
    )

    feedback_per_source: int = Field(
        default=60,
        ge=1,
        le=10_000,
        description="Feedbacks that one source may give within a minute; more are refused, so that nobody alone "
        "teaches the selector.",
    )
    max_feedback: int = Field(
        default=100_000, ge=1, description="Feedbacks kept for learning, give or take a hundred; the oldest go first."
    )
    feedback_ttl_seconds: int = Field(
        default=90 * 86_400, ge=1, description="How long feedback is kept, counted from the last that was given."
    )
    kept_models: int = Field(
        default=5,
        ge=2,
        le=100,
        description="Trained models kept, the one in use among them, whatever its age; of the others the oldest go "
        "first.",
    )
    max_model_bytes: int = Field(
        default=64 * 1024 * 1024,
        ge=1024,
        le=512 * 1024 * 1024,
        description="A trained model that is larger, as it is stored, is neither kept nor read.",
    )
    selection_cache_ttl_seconds: int = Field(
        default=3600, ge=1, description="How long a selection may be used again for an equal text by other producers."
    )

    encoder: str = Field(
        default="auto",
        min_length=1,
        description="The sentence encoder of the selector that is used where none is given: `auto` for the best of "
        "those that are installed, `none` to go by words alone, a name, as in `minilm-l6-int8/1`, or a model of your "
        "own in a sentence-transformers folder, as in `folder:/models/all-mpnet-base-v2` or `auto + folder:…`. It is "
        "loaded at the first selection.",
    )
    select_act_at: float | None = Field(
        default=None,
        ge=0,
        le=1,
        description="That selector calls a function from this probability on. Unset: as its model learnt it.",
    )
    select_ask_at: float | None = Field(
        default=None,
        ge=0,
        le=1,
        description="It says that no function fits where the probability that any is meant is below this; in between "
        "it asks. Unset: as its model learnt it.",
    )
    learn_interval_seconds: float = Field(
        default=1,
        ge=0.05,
        le=3600,
        description="How often a producer that selects looks for what others said of their selections, and for a new "
        "model.",
    )
    implicit_feedback_weight: float = Field(
        default=0.1,
        ge=0,
        le=1,
        description="How much it counts against a function that its arguments did not fit, or that the user asked the "
        "same again within a minute; 1 is what a person's word counts. 0: not at all.",
    )

    flower_port: int = Field(default=5555, ge=0, le=65_535, description="The Flower dashboard's port, on loopback.")
    metrics_port: int | None = Field(
        default=None, ge=0, le=65_535, description="Serve Prometheus metrics on this port of loopback. Unset: do not."
    )

    def __init__(self, **values: Any) -> None:  # noqa: ANN401 - the fields' own types
        super().__init__(**(_from_environment() | values))

    @classmethod
    def load(cls, **overrides: Any) -> Self:  # noqa: ANN401 - the fields' own types
        """Read the environment and the secret files, with `overrides` on top.

        Raises:
            SettingsError: naming the variable, and what it must be. Never shows the value, which may be a secret.
        """
        try:
            return cls(**(_from_secret_files() | _from_environment() | overrides))
        except ValidationError as error:
            problems = "; ".join(
                f"{PREFIX}{'_'.join(str(part) for part in issue['loc']).upper()}: {issue['msg']}"
                for issue in error.errors(include_input=False, include_context=False)
            )
            raise SettingsError(problems) from None


def _from_environment() -> dict[str, str]:
    """The fields that are set there, by name; a variable may be spelt in small letters too."""
    return _of_fields(os.environ)


def _from_secret_files() -> dict[str, str]:
    """The same from files named like the variables.

    Raises:
        SettingsError: one cannot be read.
    """
    try:
        files = [path for path in SECRETS_DIR.iterdir() if path.is_file()] if SECRETS_DIR.is_dir() else []
        named = _of_fields({path.name: path for path in files})
        return {name: path.read_text(encoding="utf-8").strip() for name, path in named.items()}
    except OSError as error:
        msg = f"the secret file {error.filename} cannot be read: {error.strerror}"
    except UnicodeDecodeError:
        msg = f"a secret file in {SECRETS_DIR} is not text in UTF-8"
    raise SettingsError(msg)


def _of_fields(given: Mapping[str, T]) -> dict[str, T]:
    by_name = {name.lower(): value for name, value in given.items()}
    variables = {name: f"{PREFIX.lower()}{name}" for name in Settings.model_fields}
    return {name: by_name[variable] for name, variable in variables.items() if variable in by_name}
