from pathlib import Path

import pytest

from tuner.config.parameters import Choice
from tuner.errors import SpecError, UserError
from tuner.reproduction import reported
from tuner.reproduction.runs import choice

EVERY = [(name, protocol) for name in reported.REPORTS for protocol in reported.PROTOCOLS]


@pytest.mark.parametrize(("name", "protocol"), EVERY)
def test_lines_match_trials_of_published_studies(name: str, protocol: str) -> None:
    lines = reported.lines(name, protocol)
    for study, rows in lines[lines["study"] != ""].groupby("study"):
        spec = reported.load_study_file(str(study))
        assert spec.study == study
        for trial in rows["trial"].unique():
            for parameter, value in choice(trial).items():
                searched = spec.space[parameter]
                assert isinstance(searched, Choice)
                assert value in searched.choice
        epochs = rows["epoch"].dropna()
        assert epochs.empty or (epochs.max() <= spec.max_epochs and (epochs.min() > 0 or spec.untrained))
        assert spec.log_every or not (rows["step"] != "").any()


@pytest.mark.parametrize("name", reported.REPORTS)
def test_lines_are_unique_and_have_sources(name: str) -> None:
    lines = reported.lines(name)
    assert not lines.duplicated(["table", "row", "quantity"]).any()
    assert (lines["source"] != "").all()


def test_lines_keep_the_printed_digits() -> None:
    lines = reported.lines("vazquez").set_index(["row", "quantity"])
    assert len(lines) == 60
    assert lines["reported"]["Exp. 3: lr 0.001, batch 128, 10 epochs", "accuracy"] == "64.03"
    assert lines["reported"]["Exp. 3: lr 0.01, batch 128, 15 epochs", "accuracy"] == "39.3"
    assert lines["reported"]["Exp. 4", "loss"] == "0.86"
    assert set(lines["decimals"]) == {2}


def test_lines_measure_doubtful_log_on_both_images() -> None:
    tables = reported.lines("tinoco").groupby("table")["study"].unique().map(list).to_dict()
    assert tables["Log: tinoco_mnist"] == ["tinoco_mnist"]
    assert tables["Log: tinoco_fashion"] == ["tinoco_fashion"]


def test_studies_of_clean_protocol_are_clean() -> None:
    assert reported.studies("vazquez", "clean") == [f"vazquez_exp{number}_clean" for number in (1, 2, 3, 4)]
    assert {reported.load_study_file(study).protocol for study in reported.studies("cesar", "clean")} == {"clean"}


def test_lines_suggest_nearest_report_and_protocol() -> None:
    with pytest.raises(UserError, match="no report 'vasquez'; did you mean 'vazquez'\\? allowed: cesar, higueros"):
        reported.lines("vasquez")
    with pytest.raises(UserError, match="--protocol: found 'klean'; did you mean 'clean'\\?"):
        reported.lines("vazquez", "klean")


@pytest.mark.parametrize(("seeds", "repeats"), [(1, None), (2, 1), (5, 4)])
def test_load_study_file_counts_the_search_seed(seeds: int, repeats: int | None) -> None:
    found = reported.load_study_file("vazquez_exp1", seeds).repeats
    assert (found and (found.top, found.seeds)) == (repeats and ("all", repeats))


def test_load_study_file_refuses_unknown_study() -> None:
    with pytest.raises(SpecError, match=r"vazquez_exp9\.yaml: no such file"):
        reported.load_study_file("vazquez_exp9")


def test_images_are_named_by_their_fingerprint() -> None:
    seen = {"name": "cifar10", "fingerprint": "da4eab673c940016fa8a39201696d20b"}
    assert reported.images(seen) == "CIFAR-10, re-compressed as JPEG quality 75"
    assert "cifar10, a copy that is not known here" in reported.images(seen | {"fingerprint": "0"})


def test_study_files_are_in_the_package() -> None:
    settings = (Path(__file__).parents[2] / "pyproject.toml").read_text()
    assert '"search_spaces/published" = "tuner/reproduction/reported/studies"' in settings
