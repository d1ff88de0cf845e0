from typing import Any

import pytest

from tuner.config.study import StudyConfig, parse_spec
from tuner.config.yaml import parse_yaml
from tuner.errors import SpecError


def spec(log_to: Any) -> StudyConfig:
    return parse_spec({"study": "s", "training": {"architecture": "vazquez_base"}, "space": {}, "log_to": log_to})


@pytest.mark.parametrize(
    ("raw", "read"),
    [
        (None, {}),
        ([], {}),
        ("mlflow", {"mlflow": "auto"}),
        (["tensorboard", "mlflow"], {"tensorboard": "auto", "mlflow": "auto"}),
        ({"tensorboard": "runs", "mlflow": None}, {"tensorboard": "runs", "mlflow": "auto"}),
        ({"mlflow": "http://host:5000"}, {"mlflow": "http://host:5000"}),
        ({"mlflow": "databricks"}, {"mlflow": "databricks"}),
    ],
    ids=str,
)
def test_log_to_has_a_short_and_a_long_form(raw: Any, read: dict[str, str]) -> None:
    assert spec(raw).log_to == read
    assert parse_spec(parse_yaml(spec(raw).to_yaml(), "s"), stored=True) == spec(raw)


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (["tensorbord"], "log_to: no log 'tensorbord'; did you mean 'tensorboard'? allowed: mlflow, tensorboard"),
        (7, "log_to: found 7; allowed: a list of tensorboard, mlflow, or {NAME: PLACE}"),
        ({"tensorboard": "s3://b/runs"}, "log_to.tensorboard: found 's3://b/runs'; allowed: a local folder, or auto"),
        ({"tensorboard": " "}, "log_to.tensorboard: found ' '; allowed: a local folder, or auto"),
        ({"mlflow": "mlruns"}, "log_to.mlflow: found 'mlruns'; allowed: a URI such as"),
        ({"mlflow": "file:///mlruns"}, "log_to.mlflow: found 'file:///mlruns'; allowed: a URI such as"),
        ({"mlflow": "mysql://me:pass@h/d"}, "found 'mysql://***@h/d'"),
        ({"mlflow": "mysql://me:pass@h/d"}, "users and passwords belong into the environment"),
    ],
    ids=str,
)
def test_log_to_refuses_in_one_line(raw: Any, said: str) -> None:
    with pytest.raises(SpecError) as refusal:
        spec(raw)
    (line,) = str(refusal.value).splitlines()
    assert said in line
    assert "pass@" not in line
