import pytest

from client.configs import read_config
from client.errors import InputError


def test_settings_alone_make_a_config():
    settings = ["optimizer.learning_rate=0.01", "optimizer.name=adam", "batch_norm=true", "dense=[64]", "dropout=null"]
    assert read_config(None, settings) == {
        "optimizer": {"learning_rate": 0.01, "name": "adam"},
        "batch_norm": True,
        "dense": [64],
        "dropout": None,
    }


@pytest.mark.parametrize("word", ["NaN", "Infinity", "lenet5-bn", "", "a=b", "[1"])
def test_what_is_no_json_is_a_word(word):
    assert read_config(None, [f"option={word}"]) == {"option": word}


@pytest.mark.parametrize(
    ("name", "content"),
    [("a.json", '{"epochs": 3, "optimizer": {"name": "sgd"}}'), ("a.toml", 'epochs = 3\noptimizer.name = "sgd"')],
)
def test_settings_stand_over_the_file(tmp_path, name, content):
    (tmp_path / name).write_text(content)
    config = read_config(tmp_path / name, ["epochs=4", "optimizer.momentum=0.5"])
    assert config == {"epochs": 4, "optimizer": {"name": "sgd", "momentum": 0.5}}


@pytest.mark.parametrize("setting", ["epochs", "=3", "a..b=1", ".a=1"])
def test_what_is_no_setting_is_refused(setting):
    with pytest.raises(InputError, match="not a setting"):
        read_config(None, [setting])


def test_an_option_within_what_is_no_group_is_refused():
    with pytest.raises(InputError, match="not a group"):
        read_config(None, ["augmentation=light", "augmentation.rotation=5"])


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [("a.json", b"{", "JSON"), ("a.toml", b"= 1", "TOML"), ("b.json", b"[]", "group"), ("c.json", b"\xff", "JSON")],
)
def test_a_file_that_is_no_config_is_refused(tmp_path, name, content, why):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=why):
        read_config(tmp_path / name)


def test_a_file_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(InputError, match="No such file"):
        read_config(tmp_path / "none.json")
