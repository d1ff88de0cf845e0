"""A study in a notebook, whose process is afterwards as it was."""

import os
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

from tuner.study.process import unchanged_process

NOTEBOOK = """
import logging, os, signal, sys, warnings
import matplotlib, optuna, ray, torch
import tuner
from tuner.config.study import parse_spec

run_study = tuner.run_study

def state():
    return {
        "environment": dict(os.environ), "filters": list(map(str, warnings.filters)), "path": list(sys.path),
        "show": warnings.showwarning, "root": (logging.root.level, len(logging.root.handlers)),
        "levels": [logging.getLogger(name).level for name in ("ray", "ray.tune", "ray.data", "optuna", "torch")],
        "threads": torch.get_num_threads(), "random": torch.get_rng_state().tolist(), "hook": sys.excepthook,
        "plots": dict(matplotlib.rcParams), "optimizer": (torch.optim.Adam.step, dict(vars(torch.optim.Optimizer))),
        "signals": [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)],
        "streams": (sys.stdout, sys.stderr), "folder": os.getcwd(),
    }

before = state()
training = {"architecture": "vazquez_base", "epochs": 1}
spec = parse_spec({"study": "a", "training": training, "space": {}, "search": {"trials": 1}})
assert run_study(spec, "results").best["val_accuracy"] > 0
assert len(tuner.load_study("results/a").trials) == 1
after = state()
print([key for key in before if before[key] != after[key]])
"""


@pytest.mark.usefixtures("starts_ray")
def test_study_leaves_the_process_of_a_notebook_alone(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", NOTEBOOK], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "[]\n"  # and nothing that Ray said


def change_process() -> None:
    os.environ |= {"TUNER_KEPT": "changed", "TUNER_NEW": "new"}
    sys.path.append("nowhere")
    warnings.simplefilter("ignore")
    raise ValueError("broken")


def test_process_is_given_back_after_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUNER_KEPT", "as it was")
    filters = list(warnings.filters)
    with pytest.raises(ValueError, match="broken"), unchanged_process():
        change_process()
    assert os.environ["TUNER_KEPT"] == "as it was"
    assert "TUNER_NEW" not in os.environ
    assert "nowhere" not in sys.path
    assert warnings.filters == filters
