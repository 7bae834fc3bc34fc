import ast

import msgspec
import pytest

from refit_rt import config
from refit_rt.errors import UserError
from tests.support.paths import ROOT

GROUPS = {field.name: type(field.default) for field in msgspec.structs.fields(config.Settings)}


def docstrings() -> dict[tuple[str, str], str]:
    """(class, setting) -> the text under it in config.py; (class, "") -> the text of the class."""
    texts, name = {}, ""
    module = ast.parse((ROOT / "refit_rt" / "config.py").read_text())
    for group in [node for node in module.body if isinstance(node, ast.ClassDef)]:
        for line in group.body:
            if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name):
                name = line.target.id
            elif isinstance(line, ast.Expr) and isinstance(line.value, ast.Constant):
                texts[group.name, name] = line.value.value
        name = ""
    return texts


def test_config_yaml_is_every_default_and_nothing_else():
    path = ROOT / "config.yaml"
    assert config.load(path) == config.Settings()
    raw = msgspec.yaml.decode(path.read_bytes())
    assert list(raw) == list(GROUPS)
    for name, group in GROUPS.items():
        assert list(raw[name]) == [field.name for field in msgspec.structs.fields(group)]


def test_config_yaml_has_the_texts_of_the_code():
    lines, texts = (ROOT / "config.yaml").read_text().splitlines(), docstrings()
    for name, group in GROUPS.items():
        assert lines[lines.index(f"{name}:") - 1] == f"# {texts[group.__name__, '']}"
        for field in msgspec.structs.fields(group):
            text = texts[group.__name__, field.name]
            assert any(line.startswith(f"  {field.name}: ") and line.endswith(f"  # {text}") for line in lines), text


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("capture: {fsp: 30}", "unknown field `fsp` - at `$.capture`"),
        ("camera: [1]", "Expected `object`, got `array` - at `$.camera`"),
        ("fit: {backend: tensorflow}", "Invalid enum value 'tensorflow' - at `$.fit.backend`"),
        ("fit: {iterations: 1.5}", "Expected `int`, got `float` - at `$.fit.iterations`"),
        ("detect: {threshold: 1.5}", "<= 1.0 - at `$.detect.threshold`"),
        ("a: b: c", "mapping values are not allowed"),
    ],
)
def test_a_wrong_settings_file_is_refused_at_its_place(tmp_path, text, says):
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(UserError) as error:
        config.load(path)
    assert str(path) in str(error.value)
    assert says in str(error.value)
    assert "\n" not in str(error.value)
    assert str(error.value).endswith("refit-rt run --help")  # config.yaml is not in the wheel


def test_a_settings_file_that_is_missing_is_named(tmp_path):
    with pytest.raises(UserError, match=r"nowhere.yaml: cannot be read"):
        config.load(tmp_path / "nowhere.yaml")


def test_what_is_left_out_is_the_default_and_an_empty_file_is_all_of_it(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("capture: {fps: 25}\n")
    assert config.load(path) == config.Settings(capture=config.Capture(fps=25.0))
    path.write_text("")
    assert config.load(path) == config.Settings()


def test_settings_given_by_code_obey_the_same_rules():
    with pytest.raises(UserError, match=r"^fit\.iterations: 0 is not allowed, expected `int` >= 1$"):
        config.check(config.Settings(fit=config.Fit(iterations=0)))
    with pytest.raises(UserError, match="backend: 'tensorflow' is not allowed, invalid enum value"):
        config.check(config.Fit(backend="tensorflow"))  # pyright: ignore[reportArgumentType]
    with pytest.raises(UserError, match=r"^--min-height-px: -1.0 is not allowed"):
        config.check(config.Track(min_height_px=-1.0), lambda setting: "--" + setting.replace("_", "-"))


def test_settings_that_obey_the_rules_come_back_unchanged():
    settings = config.Settings(fit=config.Fit(iterations=4, blend=0.1), out=config.Out(dir="out"))
    assert config.check(settings) == settings
