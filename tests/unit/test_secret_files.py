"""Settings from files, as containers mount their secrets."""

from pathlib import Path

import pytest

from dispatcher import settings as settings_module
from dispatcher.errors import SettingsError
from dispatcher.settings import Settings


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(settings_module, "SECRETS_DIR", tmp_path)
    monkeypatch.delenv("DISPATCHER_URL", raising=False)
    return tmp_path


def test_a_secret_file_is_read_without_its_last_newline_and_never_shown(folder: Path) -> None:
    (folder / "dispatcher_url").write_text("redis://:s3cret@valkey:6379/0\n")
    settings = Settings.load()
    assert settings.url is not None
    assert settings.url.get_secret_value() == "redis://:s3cret@valkey:6379/0"
    assert "s3cret" not in repr(settings)


def test_the_environment_goes_before_the_files(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "dispatcher_namespace").write_text("from-file")
    assert Settings.load().namespace == "from-file"
    monkeypatch.setenv("DISPATCHER_NAMESPACE", "from-environment")
    assert Settings.load().namespace == "from-environment"
    assert Settings.load(namespace="from-program").namespace == "from-program"


def test_other_peoples_secrets_in_the_folder_do_not_matter(folder: Path) -> None:
    (folder / "flower_basic_auth").write_text("flower:x")
    assert Settings.load().url is None


def test_no_such_folder_is_no_problem(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings_module, "SECRETS_DIR", folder / "nowhere")
    assert Settings.load().url is None


def test_a_file_that_cannot_be_read_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = folder / "dispatcher_url"
    secret.write_text("redis://:s3cret@valkey:6379/0")

    def refuse(self: Path, *_: object, **__: object) -> str:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "read_text", refuse)
    with pytest.raises(SettingsError, match="dispatcher_url cannot be read: Permission denied"):
        Settings.load()


def test_a_file_that_is_no_text_is_refused_and_not_shown(folder: Path) -> None:
    (folder / "dispatcher_url").write_bytes(b"redis://:s3cret@\xff")
    with pytest.raises(SettingsError, match="is not text in UTF-8") as refused:
        Settings.load()
    assert "s3cret" not in str(refused.value)


def test_a_variable_may_be_spelt_in_small_letters_and_a_folder_is_no_secret(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "dispatcher_url").mkdir()
    monkeypatch.setenv("dispatcher_namespace", "small")
    settings = Settings.load()
    assert (settings.url, settings.namespace) == (None, "small")


def test_settings_made_by_a_program_take_what_they_are_not_given_from_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DISPATCHER_LEASE_SECONDS", "7.5")
    monkeypatch.setenv("DISPATCHER_NAMESPACE", "from-environment")
    settings = Settings(namespace="from-program")
    assert (settings.lease_seconds, settings.namespace) == (7.5, "from-program")


def test_a_wrong_variable_is_named_and_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISPATCHER_LEASE_SECONDS", "s3cret")
    with pytest.raises(SettingsError, match="DISPATCHER_LEASE_SECONDS: ") as refused:
        Settings.load()
    assert "s3cret" not in str(refused.value)


def test_a_setting_that_there_is_not_is_refused() -> None:
    with pytest.raises(SettingsError, match="DISPATCHER_LEASE"):
        Settings.load(lease=1)
