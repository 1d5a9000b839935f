"""From flags and YAML to a config; every mistake is one line that names its place."""

import dataclasses

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from configs.cli import parse
from configs.generate import GenerateConfig
from configs.schema import TrainConfig
from training.registry import MODELS
from utils.errors import UserError

SETTINGS = [item for item in dataclasses.fields(TrainConfig) if item.name not in ("model", "family")]
VALUES = {int: 5, int | None: 5, float: 0.25, float | None: 0.25, str: "word", str | None: "word"}


def parsed(*argv) -> TrainConfig:
    return parse(TrainConfig, [str(word) for word in argv], models=MODELS)


def unchecked(monkeypatch, *argv) -> TrainConfig:
    """Parsed without the cross-checks between settings."""
    monkeypatch.setattr(TrainConfig, "check", lambda self: self)
    return parsed(*argv)


@pytest.fixture
def write(tmp_path):
    def write(text: str, name: str = "some.yaml"):
        (tmp_path / name).write_text(text)
        return tmp_path / name
    return write


def complaint(*argv) -> str:
    with pytest.raises(UserError) as caught:
        parsed(*argv)
    return " ".join(str(caught.value).split())


@pytest.mark.parametrize("field", SETTINGS, ids=lambda field: field.name)
@pytest.mark.parametrize("dashed", [False, True], ids=["underscored", "dashed"])
def test_every_field_is_a_flag_in_both_spellings(monkeypatch, field, dashed):
    choices = getattr(field.type, "__args__", ())
    value = not field.default if field.type is bool else VALUES.get(field.type) or [word for word in choices if word != field.default][0]
    flag = "--" + (field.name.replace("_", "-") if dashed else field.name)
    for words in ([flag, str(value)], [f"{flag}={value}"]):
        assert getattr(unchecked(monkeypatch, *words), field.name) == value != field.default


def test_values_keep_their_dashes():
    assert parsed("--out", "runs/my-run_2", "--data=a-b/c_d").out == "runs/my-run_2"
    assert parsed("--out", "runs/my-run_2", "--data=a-b/c_d").data == "a-b/c_d"


@pytest.mark.parametrize("words, restart", [
    (["--restart"], True), (["--restart", "true"], True), (["--restart", "--lr", "0.5"], True), (["--restart=false"], False),
    (["--restart", "false"], False), (["--restart", "False"], False)])
def test_a_bare_switch_is_true_and_may_be_spelt_out(words, restart):
    assert parsed(*words).restart is restart


def test_bare_switch_with_dashes_and_a_default_of_true():
    assert parsed("--dry-run").dry_run is True
    assert parsed("--tensorboard").tensorboard is True
    assert parsed("--tensorboard", "false").tensorboard is False


def test_yaml_is_read_and_a_flag_wins_wherever_it_stands(write):
    path = write("height: 32\nlr: 1e-4\nmodel:\n  latent_dim: 7\n")
    config = parsed("--config", path)
    assert (config.height, config.lr, config.model.latent_dim, config.width) == (32, 1e-4, 7, 64)
    for words in (["--config", path, "--height", 16], ["--height", 16, f"--config={path}"]):
        config = parsed(*words)
        assert (config.height, config.lr, config.model.latent_dim) == (16, 1e-4, 7)


def test_of_two_files_the_later_wins(write):
    first, second = write("height: 32\nwidth: 32\n", "a.yaml"), write("height: 16\n", "b.yaml")
    config = parsed("--config", first, "--config", second)
    assert (config.height, config.width) == (16, 32)


def test_a_flag_silences_the_rivals_of_a_file(write):
    path = write("frame_skip: 3\nsteps: 5\n")
    config = parsed("--config", path, "--fps", 5, "--epochs", 2)
    assert (config.frame_skip, config.fps, config.steps, config.epochs) == (1, 5.0, None, 2)
    assert "exclude" in complaint("--fps", 5, "--frame_skip", 2)
    for nothing in (["--epochs", "null"], ["--epochs=null"], ["--fps", "null"]):  # takes nothing from the file
        config = parsed("--config", path, *nothing)
        assert (config.frame_skip, config.fps, config.steps, config.epochs) == (3, None, 5, None)


@pytest.mark.parametrize("argv, urls, out", [
    (["a", "b"], ["a", "b"], "x"), (["--out", "y", "a"], ["a"], "y"), (["a", "--loud", "--out=y", "b"], ["a", "b"], "y"),
    (["a", "--loud", "false", "b", "--", "--c"], ["a", "b", "--c"], "x"), ([], [], "x"), (['a "quoted", one'], ['a "quoted", one'], "x"),
    (["ytsearch5:cat \U0001f431 caf\u00e9\t"], ["ytsearch5:cat \U0001f431 caf\u00e9\t"], "x")])
def test_words_without_a_flag_land_in_their_field(argv, urls, out):
    @dataclasses.dataclass
    class Config:
        urls: list[str] = dataclasses.field(default_factory=list)
        """Words."""
        out: str = "x"
        """Folder."""
        loud: bool = False
        """Switch."""

    config = parse(Config, argv, words="urls")
    assert (config.urls, config.out, config.loud) == (urls, out, "--loud" in argv and "false" not in argv)
    with pytest.raises(UserError, match="--nope"):
        parse(Config, ["a", "--nope", "1"], words="urls")


@pytest.mark.parametrize("words", [
    ["--eval_flags", "--held-out a-b"], ["--eval-flags", "--device=cpu"], ["--eval_flags=--held-out a-b --x=1"],
    ["--eval_flags", "--config"]])
def test_flags_within_a_flag_are_left_alone(words):
    config = parsed(*words, "--batch-size", "4")
    assert config.eval_flags == (words[1] if len(words) == 2 else words[0].partition("=")[2]) and config.batch_size == 4


def test_family_settings_are_a_group_of_flags():
    config = parsed("--model.latent_dim", 9, "--model.g-norm=none")
    assert isinstance(config.model, MODELS["dcgan"])
    assert (config.model.latent_dim, config.model.g_norm) == (9, "none")


def test_the_family_decides_which_settings_exist(write):
    @dataclasses.dataclass
    class Other:
        """Settings of another family."""
        size: int = 4
        """A size."""

    models = {**MODELS, "other": Other}
    path = write("family: other\nmodel:\n  size: 5\n")
    assert parse(TrainConfig, ["--config", str(path)], models=models).model == Other(5)
    assert parse(TrainConfig, ["--family", "other", "--model.size=6"], models=models).model == Other(6)
    assert parse(TrainConfig, ["--model.size", "6", f"--config={path}"], models=models).model == Other(6)
    with pytest.raises(UserError, match="latent_dim"):
        parse(TrainConfig, ["--family=other", "--model.latent_dim", "6"], models=models)


@pytest.mark.parametrize("words, named", [
    (["--nope", "1"], "--nope"),
    (["--model.nope", "1"], "--model.nope"),
    (["--batc", "3"], "--batc"),
    (["--height", "tall"], "--height"),
    (["--height", "1.5"], "--height"),
    (["--height"], "--height"),
    (["--lr", "nan"], "--lr"),
    (["--restart", "maybe"], "maybe"),
    (["--loss", "wasserstein"], "--loss"),
    (["--family", "nope"], "--family nope"),
    (["stray"], "stray"),
    (["--config"], "--config"),
    (["--config", "no/such.yaml"], "no/such.yaml"),
])
def test_a_wrong_flag_is_named(words, named):
    assert named in complaint(*words)


@pytest.mark.parametrize("text, named", [
    ("heigth: 32\n", "heigth"), ("model:\n  latnt_dim: 3\n", "latnt_dim"), ("height: tall\n", "height"), ("lr: [1, 2]\n", "lr"),
    ("a: [1,\n  b: }{\n", "YAML"), ("- 1\n- 2\n", "name: value"), ("", "name: value"), ("model:\n  latent_dim: many\n", "latent_dim"),
], ids=["unknown key", "unknown model key", "wrong type", "list for number", "not YAML", "a list", "empty", "wrong model type"])
def test_a_wrong_file_is_named_with_the_setting(write, text, named):
    path = write(text)
    said = complaint("--config", path)
    assert str(path) in said and named in said


def test_a_file_of_bytes_and_a_folder_are_refused(tmp_path):
    (tmp_path / "bytes.yaml").write_bytes(b"\xff\xfe\x00")
    assert "bytes.yaml" in complaint("--config", tmp_path / "bytes.yaml")
    assert str(tmp_path) in complaint("--config", tmp_path)


@settings(max_examples=30, deadline=None)
@given(height=st.integers(1, 4096), lr=st.floats(1e-8, 1.0), steps=st.none() | st.integers(1, 10**9), flip=st.booleans(),
       augment=st.sampled_from(["", "color", "color,cutout"]), latent=st.integers(1, 999), seed=st.integers(0, 2**63 - 1))
def test_a_resolved_config_written_as_yaml_reads_back_the_same(tmp_path_factory, height, lr, steps, flip, augment, latent, seed):
    config = TrainConfig(height=height, lr=lr, steps=steps, flip=flip, augment=augment, seed=seed, model=MODELS["dcgan"](latent_dim=latent))
    path = tmp_path_factory.mktemp("config") / "config.yaml"
    path.write_text(yaml.safe_dump(config.as_dict(), sort_keys=False))
    assert parsed("--config", path) == config


def test_help_shows_every_setting(capsys):
    with pytest.raises(SystemExit) as ended:
        parsed("--help")
    assert ended.value.code == 0
    text = capsys.readouterr().out
    missing = [item.name for item in dataclasses.fields(TrainConfig) if item.name != "model" and f"--{item.name}" not in text]
    missing += [item.name for item in dataclasses.fields(MODELS["dcgan"]) if f"--model.{item.name}" not in text]
    assert not missing
    assert "Zero" not in text and "Keep every k-th frame of the source." in " ".join(text.split())


def test_a_family_that_is_no_name_is_one_line(write):
    assert "--family ['dcgan']: must be one of" in complaint("--config", write("family: [dcgan]\n"))


@pytest.mark.parametrize("text, named", [("batch_size:\nlr: 0.1\n", "--batch_size: is empty"), ("data: null\n", "--data: is empty"),
                                         ("model:\n  g_width:\n", "--model.g_width: is empty"),
                                         ("metrics:\nlr: 0.1\n", "--metrics: is empty"),
                                         ("model: 5\n", "model: 5: holds the network's settings"), ("model: dcgan\n", "chosen by `family:`"),
                                         ("lr: 1.0e-3\nseed: 1\nlr: 5.0e-3\n", "lr stands there twice"), ('out: ""\n', "--out: is empty")])
def test_a_file_with_a_setting_left_open_or_given_twice_is_refused(write, text, named):
    assert named in complaint("--config", write(text))


def test_an_optional_setting_may_be_null(write):
    assert parsed("--config", write("max_frames: null\nepochs:\n")).max_frames is None


def test_home_is_home_in_files_too(write, monkeypatch):
    monkeypatch.setenv("HOME", "/somewhere")
    config = parsed("--config", write("out: ~/runs/a\n"), "--data=~/videos")
    assert (config.out, config.data) == ("/somewhere/runs/a", "/somewhere/videos")
    assert parsed("--data", "~other").data == "~other"


def test_yaml_may_merge(write):
    config = parsed("--config", write("<<: {lr: 1.0e-3, seed: 3}\nseed: 4\n"))
    assert config.lr == 1e-3 and config.seed == 4


@pytest.mark.parametrize("word", ["#dance", "&a", "~"])
def test_a_name_that_is_nothing_in_yaml_is_a_name_as_a_flag(word):
    assert parse(GenerateConfig, ["--label", word]).label == parse(GenerateConfig, [f"--label={word}"]).label == word
    assert parse(GenerateConfig, ["--label", "null"]).label is None
