from pathlib import Path

import pytest
from pydantic import Field, SecretStr

from onlooker.core.errors import ConfigError
from onlooker.core.settings import Section, load_settings


class Door(Section):
    port: int = Field(default=8000, ge=0, le=65535)
    key: SecretStr | None = None


class House(Section):
    door: Door = Door()


def write(folder: Path, text: str) -> Path:
    path = folder / "house.toml"
    path.write_text(text)
    return path


def test_the_command_line_beats_the_environment_beats_the_file_beats_the_default(
    tmp_path: Path,
) -> None:
    file = write(tmp_path, "[door]\nport = 1\n")
    environ = {"ONLOOKER_DOOR__PORT": "2"}
    overrides = {"door.port": 3, "door.key": None}
    assert load_settings(House, environ={}).door.port == 8000
    assert load_settings(House, environ={}, config_file=file).door.port == 1
    assert load_settings(House, environ=environ, config_file=file).door.port == 2
    loaded = load_settings(House, environ=environ, config_file=file, overrides=overrides)
    assert loaded.door.port == 3


def test_the_environment_can_name_the_file(tmp_path: Path) -> None:
    file = write(tmp_path, "[door]\nport = 1\n")
    assert load_settings(House, environ={"ONLOOKER_CONFIG": str(file)}).door.port == 1


def test_the_variables_of_the_clients_are_no_settings() -> None:
    environ = {"ONLOOKER_API_KEY": "secret", "ONLOOKER_URL": "http://127.0.0.1:8000", "HOME": "/"}
    assert load_settings(House, environ=environ) == House()


@pytest.mark.parametrize(
    ("environ", "named"),
    [
        ({"ONLOOKER_DOOR__PORT": "99999"}, "setting 'door.port' (ONLOOKER_DOOR__PORT)"),
        ({"ONLOOKER_DOOR__PROT": "1"}, "no setting 'door.prot' (ONLOOKER_DOOR__PROT)"),
        ({"ONLOOKER_DOR__PORT": "1"}, "no setting 'dor.port' (ONLOOKER_DOR__PORT)"),
        ({"ONLOOKER_DOOR": "1", "ONLOOKER_DOOR__PORT": "1"}, "'door' is a value, not a section"),
    ],
)
def test_a_wrong_name_or_value_is_refused_by_name(environ: dict[str, str], named: str) -> None:
    with pytest.raises(ConfigError) as refused:
        load_settings(House, environ=environ)
    assert named in refused.value.message


@pytest.mark.parametrize("text", ["[door\nport = 1", "port = "])
def test_a_file_that_is_no_toml_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError, match=r"cannot read the settings file house\.toml"):
        load_settings(House, environ={}, config_file=write(tmp_path, text))


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot read the settings file"):
        load_settings(House, environ={}, config_file=tmp_path / "gone.toml")


def test_a_secret_does_not_print() -> None:
    loaded = load_settings(House, environ={"ONLOOKER_DOOR__KEY": "hunter2"})
    assert "hunter2" not in repr(loaded)
    assert "hunter2" not in loaded.model_dump_json()
