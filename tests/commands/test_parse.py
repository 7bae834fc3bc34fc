"""Arguments and settings, through the public command."""

from pathlib import Path

import pytest

from refit_rt import config
from refit_rt.__main__ import command


def test_without_arguments_every_setting_is_its_default(settings_of) -> None:
    assert settings_of() == config.Settings()


def test_an_option_wins_over_the_file_and_the_file_over_the_default(settings_of, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("fit: {iterations: 4}\ntrack: {max_people: 3}\nsmooth: {strength: 1}\n")
    settings = settings_of("clip.mp4", "--config", "mine.yaml", "--track.max-people", "2", "--smooth.no-enabled")
    assert settings == config.Settings(
        capture=config.Capture(source="clip.mp4"),
        fit=config.Fit(iterations=4),
        track=config.Track(max_people=2),
        smooth=config.Smooth(enabled=False, strength=1.0),
    )


@pytest.mark.parametrize(
    ("arguments", "iterations"),
    [((), 7), (("--config=other.yaml",), 9), (("--config", "other.yaml", "--fit.iterations", "2"), 2)],
)
def test_config_yaml_of_the_folder_is_read_unless_another_file_is_given(
    settings_of, tmp_path: Path, arguments: tuple[str, ...], iterations: int
) -> None:
    (tmp_path / "config.yaml").write_text("fit: {iterations: 7}\n")
    (tmp_path / "other.yaml").write_text("fit: {iterations: 9}\n")
    assert settings_of(*arguments).fit.iterations == iterations


def test_the_file_can_be_given_before_or_after_what_changes_it(settings_of, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("fit: {iterations: 4, blend: 0.1}\n")
    first = settings_of("--config", "mine.yaml", "--fit.iterations", "3")
    assert first == settings_of("--fit.iterations", "3", "--config", "mine.yaml")
    assert (first.fit.iterations, first.fit.blend) == (3, 0.1)


def test_a_value_is_never_taken_for_the_settings_file(settings_of) -> None:
    assert settings_of("--", "--config=x").capture.source == "--config=x"


def test_of_an_option_that_is_given_twice_the_last_counts(settings_of) -> None:
    assert settings_of("--fit.iterations", "1", "--fit.iterations=3").fit.iterations == 3


def test_underscores_are_hyphens(settings_of) -> None:
    assert settings_of("--fit.min_confidence", "0.2").fit.min_confidence == 0.2


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (
            "run --fit.itrations 3",
            "unknown option --fit.itrations; did you mean --fit.iterations? (refit-rt run --help)",
        ),
        (
            "run --fit.itrations=3",
            "unknown option --fit.itrations; did you mean --fit.iterations? (refit-rt run --help)",
        ),
        ("run --max_people 3", "unknown option --max_people; did you mean --track.max-people? (refit-rt run --help)"),
        ("run --confg x.yaml", "unknown option --confg; did you mean --config? (refit-rt run --help)"),
        ("run --zzz", "unknown option --zzz (refit-rt run --help)"),
        ("run -x", "unknown option -x (refit-rt run --help)"),
        ("run a.mp4 b.mp4", "unexpected argument 'b.mp4' (refit-rt run --help)"),
        ("import-smpl --outt a.npz b.pkl", "unknown option --outt; did you mean --out? (refit-rt import-smpl --help)"),
        ("import-smpl", "FILE is missing (refit-rt import-smpl --help)"),
        ("import-weights a.pt", "BODY is missing (refit-rt import-weights --help)"),
        ("run --config", "--config needs a value (refit-rt run --help)"),
        ("run --config --fit.iterations 3", "--config needs a value (refit-rt run --help)"),
        ("run --fit.iterations", "--fit.iterations needs a value (refit-rt run --help)"),
        ("run --fit.iterations two", "--fit.iterations: 'two' is not a whole number (refit-rt run --help)"),
        ("run --fit.iterations 1.5", "--fit.iterations: '1.5' is not a whole number (refit-rt run --help)"),
        ("run --fit.stature-m 1,80", "--fit.stature-m: '1,80' is not a number (refit-rt run --help)"),
        ("run --fit.shapes ann.json", "--fit.shapes needs pairs, as in --fit.shapes all FILE (refit-rt run --help)"),
        (
            "run --fit.backend tensorflow",
            "--fit.backend: 'tensorflow' is not one of 'cpu', 'tensorrt', 'torch' (refit-rt run --help)",
        ),
        (
            "run --track.max-people -1",
            "--track.max-people: -1 is not allowed, expected `int` >= 0 (refit-rt run --help)",
        ),
        ("build --fit.blend 1.5", "--fit.blend: 1.5 is not allowed, expected `float` <= 1.0 (refit-rt build --help)"),
        (
            "bench --fit.blend nan",
            "--fit.blend: nan is not allowed, expected `float` >= 0.0 (refit-rt bench live --help)",
        ),
    ],
)
def test_what_cannot_be_used_is_one_line_that_names_it(refusal, arguments: str, line: str) -> None:
    assert refusal(*arguments.split()) == f"refit-rt: {line}"


@pytest.mark.parametrize(
    "arguments", ["run --smooth.enabled false", "run --smooth.enabled=false", "doctor --fit.warm True"]
)
def test_a_value_for_a_switch_is_refused_with_what_turns_it_off(refusal, arguments: str) -> None:
    assert "a switch takes no value: --smooth.enabled turns it on, --smooth.no-enabled off" in refusal(
        *arguments.split()
    )


def test_a_narrow_terminal_does_not_cut_an_error(refusal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    assert "'tensorflow' is not one of 'cpu', 'tensorrt', 'torch' (" in refusal("run", "--fit.backend", "tensorflow")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("fit: {itrations: 4}", "Object contains unknown field `itrations` - at `$.fit`"),
        ("track: {max_people: -1}", "Expected `int` >= 0 - at `$.track.max_people`"),
        ("a: b: c", "mapping values are not allowed"),
    ],
)
def test_an_error_in_the_file_names_the_file(refusal, tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "mine.yaml").write_text(text)
    line = refusal("run", "--config", "mine.yaml", "--track.max-people", "2")
    assert line.startswith("refit-rt: mine.yaml: ")
    assert says in line


def test_a_file_that_is_missing_is_named(refusal) -> None:
    assert refusal("run", "--config", "gone.yaml").startswith("refit-rt: gone.yaml: cannot be read (No such file")


def test_config_yaml_of_the_folder_is_read_only_for_verbs_with_settings(refusal, capsys, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("site: not for refit_rt\n")
    assert "config.yaml: Object contains unknown field `site`" in refusal("run")
    assert "gone.pkl" in refusal("import-smpl", "gone.pkl")
    assert command(["run", "--help"]) == 0
    assert command(["run", "--config", "gone.yaml", "--help"]) == 0
    assert "usage: refit-rt run" in capsys.readouterr().out


GROUPS = ("capture", "camera", "detect", "track", "fit", "smooth", "publish", "out")


@pytest.mark.parametrize(
    ("verb", "groups"),
    [
        ("run", GROUPS),
        ("demo", ("detect", "track", "fit", "smooth", "publish")),
        ("doctor", ("capture", "detect", "fit", "publish")),
        ("build", ("fit",)),
        ("bench live", ("detect", "track", "fit", "smooth", "publish")),
        ("bench encoder", ("fit",)),
        ("bench loop", ()),
        ("bench kernels", ("fit",)),
        ("listen", ()),
        ("import-smpl", ()),
        ("import-weights", ()),
        ("bundle", ()),
        ("quantise", ()),
    ],
)
def test_the_help_of_a_verb_shows_the_groups_that_it_uses(capsys, verb: str, groups: tuple[str, ...]) -> None:
    assert command([*verb.split(), "--help"]) == 0
    rows = [row.strip("│ ") for row in capsys.readouterr().out.splitlines()]
    shown = [row.split(".")[0].removeprefix("--") for row in rows if row.startswith("--") and "." in row.split()[0]]
    assert tuple(dict.fromkeys(shown)) == groups
    assert any(row.startswith("--config FILE") for row in rows) == bool(groups)


def test_a_setting_that_a_verb_does_not_use_is_unknown_to_it(refusal) -> None:
    assert refusal("build", "--track.max-people", "2") == (
        "refit-rt: unknown option --track.max-people (refit-rt build --help)"
    )
