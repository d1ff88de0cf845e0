"""Study files: settings, defaults, and one line for each refusal."""

from pathlib import Path

import pytest

from tuner.config.dataset import LastFraction, NextImages
from tuner.config.study import StudyConfig, load_spec, parse_spec
from tuner.config.yaml import parse_yaml
from tuner.errors import SpecError

SMALLEST = "study: demo\ntraining: {architecture: vazquez_deep}\ndataset: {name: mnist}\nspace: {}\n"
TWO_NETWORKS = "architecture: {choice: [vazquez_base, alexnet]}"
DESIGN = """
study: cifar
dataset:
  name: cifar10
  train: 45000
  validation: 5000
  augment: {flip: true, crop: 4}
training: {optimizer: adam, evaluate: {augment: true}}
objective: {maximize: val_accuracy}
space:
  architecture: {choice: [vazquez_base, vazquez_deep, alexnet, rubio_small]}
  learning_rate: {float: [1e-4, 1e-1], log: true}
  batch_size: {choice: [32, 64, 128, 256]}
  epochs: {choice: [5, 10, 15]}
  dropout: {float: [0.0, 0.6], when: {architecture: [alexnet, vazquez_deep]}}
search: {sampler: tpe, trials: 64, seed: 7}
stopping: {asha: {grace_period: 2, reduction_factor: 3}}
resources: {cpu: 2, gpu: 0.5, concurrent: 3}
budget: {hours: 2}
repeats: {top: 3, seeds: 5}
"""
SEVERAL_OBJECTIVES = """
study: pareto-2.a
dataset: {name: ./a folder/of 'images', image_size: 20, validation: {last: 0.2}, pixels: standard}
training: {architecture: vazquez_deep, dropout: 0, filters_2: 16, learning_rate: 1, init: keras}
objective: [{maximize: val_accuracy}, {minimize: parameters_count}]
space:
  optimizer: {choice: [adam, sgd]}
  momentum: {float: [0.1, 0.3], step: 0.2, when: {optimizer: sgd}}
  filters: {int: [8, 64], log: true}
  dense: 32
search: {sampler: nsga2}
stopping: {hyperband: {brackets: 2}}
repeats: {top: all, seeds: 1}
"""
AS_PUBLISHED = """
study: report
protocol: as_published
dataset: {name: "train-*.parquet", test: test.parquet, validation: test}
training: {architecture: rubio_small, epochs: 3}
space: {batch_size: {choice: [100]}}
search: {sampler: grid}
stopping: {median: {min_trials: 2}}
"""
SINGLE = SMALLEST + "stopping: none"


def spec(text: str) -> StudyConfig:
    return parse_spec(parse_yaml(text, "study.yaml"))


def refusal(tmp_path: Path, text: str, *settings: str) -> str:
    file = tmp_path / "study.yaml"
    file.write_text(text)
    with pytest.raises(SpecError) as caught:
        load_spec(file, settings)
    assert "\n" not in str(caught.value)
    return str(caught.value).removeprefix(f"{file}: ")


REFUSED_SETTINGS = """
sapce={}                              | unknown key 'sapce'; did you mean 'space'? allowed: budget, classes,
7=8                                   | unknown key '7'; allowed: budget
study=a/b                             | study: found 'a/b'; allowed: a plain folder name
study=..                              | study: found '..'; allowed: a plain folder name
study=null                            | study: found null; allowed: a plain folder name
study=2                               | study: found 2; allowed: a plain folder name
dataset=mnist                         | dataset: found 'mnist'; allowed: a mapping
dataset.nam=mnist                     | dataset: unknown key 'nam'; did you mean 'name'? allowed: augment,
dataset.name=cifar1O                  | dataset.name: found 'cifar1O'; did you mean 'cifar10'? allowed: cifar10, digits,
dataset.name=3                        | dataset.name: found 3; allowed: text
dataset.name=""                       | dataset.name: found ''; allowed: cifar10
dataset.augment.flp=true              | dataset.augment: unknown key 'flp'; did you mean 'flip'? allowed: crop,
dataset.augment.flip=yes              | dataset.augment.flip: found 'yes'; allowed: true or false
dataset.augment.crop=-1               | dataset.augment.crop: found -1; should be greater than or equal to 0
dataset.train=0                       | dataset.train: found 0; should be greater than 0
dataset.train=1.5                     | dataset.train: found 1.5; allowed: a whole number
dataset.pixels=units                  | dataset.pixels: found 'units'; did you mean 'unit'? allowed: auto, raw,
dataset.validation=0                  | dataset.validation: found 0; allowed: a number of images, a fraction below 1,
dataset.validation=1.5                | dataset.validation: found 1.5; allowed: a number of images
dataset.validation=.inf               | dataset.validation: found inf; allowed: a number of images
dataset.validation=true               | dataset.validation: found true; allowed: a number of images
dataset.validation=tset               | dataset.validation: found 'tset'; allowed: a number of images
dataset.validation={lst: 0.2}         | dataset.validation: found {'lst': 0.2}; allowed: a number of images
dataset.validation={last: 2}          | dataset.validation.last: found 2; should be less than 1
dataset.validation={last: .1, nxt: 2} | dataset.validation: unknown key 'nxt'; allowed: last
dataset.validation=test               | dataset.validation: 'test' chooses by test images; only with `protocol: as_publ
dataset.image_size=9                  | training.architecture: vazquez_deep needs 10x10 images, mnist has 9x9
training=null                         | training: found null; allowed: a mapping
training={}                           | training.architecture: missing; allowed: alexnet,
training.architecture=alexnt          | training.architecture: found 'alexnt'; did you mean 'alexnet'? allowed: alexnet,
training.architecture=resnet          | training.architecture: found 'resnet'; did you mean 'resnet9'? allowed: alexnet,
training.architecture=torchvision:vgg | training.architecture: torchvision has no 'vgg'; did you mean 'vgg19'? allowed:
training.architecture=nowhere:Network | training.architecture: nowhere:Network: importing 'nowhere' failed with
training.architecture=tests.support.networks:Tin | training.architecture: tests.support.networks has no class
training.architecture=tests.support.networks:Clashing | training.architecture: tests.support.networks:Clashing declares
training.architecture=[alexnet]       | training.architecture: found ['alexnet']; did you mean 'alexnet'?
training.optimizr=adam                | training.optimizr: unknown; did you mean 'optimizer'? allowed: architecture,
training.optimizer=adm                | training.optimizer: found 'adm'; did you mean 'adam'? allowed: adam, adamw, sgd
training.epochs=0                     | training.epochs: found 0; should be greater than or equal to 1
training.epochs="10"                  | training.epochs: found '10'; allowed: a whole number
training.epochs=true                  | training.epochs: found true; allowed: a whole number
training.learning_rate=.nan           | training.learning_rate: found nan; should be a finite number
training.evaluate.batch_nrm=eval      | training.evaluate: unknown key 'batch_nrm'; did you mean 'batch_norm'?
training.dropout=0.96                 | training.dropout: 0.96 is outside [0.0, 0.95]
training.dropout=true                 | training.dropout: found true; allowed: a number
training.focal_gamma=5.5              | training.focal_gamma: found 5.5; should be less than or equal to 5
training.class_weights=balancd        | training.class_weights: found 'balancd'; did you mean 'balanced'? allowed: bal
training.sampling=uniform             | training.sampling: found 'uniform'; allowed: balanced, shuffled
space.focal_gamma={float: [-1, 2]}    | space.focal_gamma: found -1.0; should be greater than or equal to 0
metrics=[val_auc]                     | metrics[0]: found 'val_auc'; did you mean 'val_auroc'? allowed: val_auroc,
metrics=val_f1                        | metrics: found 'val_f1'; allowed: a list
classes=[tests]                       | classes[0]: found 'tests'; did you mean 'test'? allowed: test, validation
objective={minimize: val_auroc}       | objective: found {minimize: val_auroc}; allowed: {maximize: val_auroc}
objective={maximize: val_ece}         | objective: found {maximize: val_ece}; allowed: {minimize: val_ece}
objective={maximize: val_auc}         | objective: no metric 'val_auc'; did you mean 'val_auroc'? allowed:
training.filters=1.5                  | training.filters: found 1.5; allowed: a whole number
objective=val_accuracy                | objective: found 'val_accuracy'; allowed: {maximize: METRIC} or {minimize: METR
objective=[]                          | objective: found []; allowed: at least one value
objective={minimise: val_loss}        | objective: found {'minimise': 'val_loss'}; allowed: {maximize: METRIC} or
objective={maximize: val_acc}         | objective: no metric 'val_acc'; did you mean 'val_accuracy'? allowed: parameter
objective={maximize: [val_loss]}      | objective: found {'maximize': ['val_loss']}; allowed: parameters_count
objective={maximize: test_accuracy}   | objective: 'test_accuracy' is measured on test images, and nothing may choose
objective=[{maximize: val_accuracy}, {maximize: val_accuracy}] | objective: 'val_accuracy' stands twice
objective=[{maximize: val_accuracy}, {minimize: test_loss}]    | objective[1]: 'test_loss' is measured on test images
search=grid                           | search: found 'grid'; allowed: a mapping
search.sampler=tpee                   | search.sampler: found 'tpee'; did you mean 'tpe'? allowed: cmaes, curves,
search.trials=0                       | search.trials: found 0; should be greater than or equal to 1
search.trials=many                    | search.trials: found 'many'; allowed: a whole number
search.try_first=[]                   | search.try_first: found []; allowed: at least one value
search.try_first=3                    | search.try_first: found 3; allowed: a list
search.try_first=[{lr: .nan}]         | search.try_first[0].lr: found nan; allowed: a number, text, boolean or list
search.seed=-1                        | search.seed: found -1; should be greater than or equal to 0
stopping=ash                          | stopping: unknown key 'ash'; did you mean 'asha'? allowed: asha, hyperband, med
stopping=3                            | stopping: found 3; allowed: a mapping
stopping={asha: {grace_perod: 2}}     | stopping.asha: unknown key 'grace_perod'; did you mean 'grace_period'?
stopping={asha: {grace_period: 0}}    | stopping.asha.grace_period: found 0; should be greater than or equal to 1
stopping={median: {grace_period: 11}} | stopping.grace_period: 11 is above the 10 epochs of the longest trial
stopping={asha: {reduction_factor: 1}} | stopping.asha.reduction_factor: found 1; should be greater than or equal to 1.
stopping={asha: {reduction_factor: 1.0000001}} | stopping.asha.reduction_factor: found 1.0000001; should be greater
training.epochs=100000000000000000000 | training.epochs: found 100000000000000000000; allowed: whole numbers between
training.epochs=10000000              | training.epochs: found 10000000; should be less than or equal to 1000000
training.batch_size=1000000000000     | training.batch_size: found 1000000000000; should be less than or equal to
training.learning_rate=1e300          | training.learning_rate: found 1e+300; should be less than or equal to
search.trials=1000000000000000        | search.trials: found 1000000000000000; should be less than or equal to
retries=1000000000000                 | retries: found 1000000000000; should be less than or equal to 100
resources.cpu=1000000000              | resources.cpu: found 1000000000; should be less than or equal to 10000
resources.gpu=1.5                     | resources.gpu: found 1.5; allowed: 0, 0.0001 to 1, or a whole number or auto
resources.gpu=1e-9                    | resources.gpu: found 1e-09; allowed: 0, 0.0001 to 1, or a whole number or auto
budget.hours=1e300                    | budget.hours: found 1e+300; should be less than or equal to
repeats.seeds=1000000000              | repeats.seeds: found 1000000000; should be less than or equal to 1000
dataset.name=~nouser                  | dataset.name: found '~nouser'; allowed: cifar10
space={1: a}                          | space: found the key 1; allowed: text, such as '1'
training={1: a}                       | training: found the key 1; allowed: text, such as '1'
stopping={asha: , median: }           | stopping: one rule is allowed, found asha and median
resources.cpus=2                      | resources: unknown key 'cpus'; did you mean 'cpu'? allowed: concurrent, cpu, gpu
resources.cpu=0                       | resources.cpu: found 0; should be greater than or equal to 1
resources.gpu=lots                    | resources.gpu: found 'lots'; allowed: a number or auto
resources.concurrent=0                | resources.concurrent: found 0; should be greater than or equal to 1 or auto
budget.target={val_acc: 0.9}          | budget.target: no objective 'val_acc'; did you mean 'val_accuracy'? allowed
budget.target={val_loss: 0.1}         | budget.target: no objective 'val_loss'; allowed: val_accuracy
budget.target={val_accuracy: 99}      | budget.target.val_accuracy: found 99.0; did you mean 0.99? allowed: above 0 and
budget.target={val_accuracy: 0}       | budget.target.val_accuracy: found 0.0; allowed: above 0 and at most 1, because
budget.target={}                      | budget.target: found {}; allowed: at least one value
budget.target={val_accuracy: high}    | budget.target.val_accuracy: found 'high'; allowed: a number
constraints={val_f1: {min: 0.5}}      | constraints: found 'val_f1'; it is measured where it is an objective; allowed:
constraints={val_los: {max: 1}}       | constraints: found 'val_los'; no such metric; did you mean 'val_loss'? allowed:
constraints={test_loss: {max: 1}}     | constraints.test_loss: nothing may choose by test images; use val_loss
constraints={val_loss: {}}            | constraints.val_loss: found no bound; allowed: {min: NUMBER}, {max: NUMBER}, or
constraints={val_loss: {min: 2, max: 1}} | constraints.val_loss.min: 2 is above max, 1
constraints={val_loss: 1}             | constraints.val_loss: found 1; allowed: a mapping
constraints={val_loss: {most: 1}}     | constraints.val_loss: unknown key 'most'; allowed: max, min
budget.epochs=1.5                     | budget.epochs: found 1.5; allowed: a whole number
budget.plateau=0                      | budget.plateau: found 0; should be greater than or equal to 1
budget.trails=9                       | budget: unknown key 'trails'; did you mean 'trials'? allowed: epochs
budget.hours=0                        | budget.hours: found 0; should be greater than 0
repeats.top=some                      | repeats.top: found 'some'; allowed: a whole number or all
protocol=published                    | protocol: found 'published'; did you mean 'as_published'? allowed: as_published
retries=-1                            | retries: found -1; should be greater than or equal to 0
space=null                            | space: found null; allowed: a mapping of parameters, {} for none
space.dropuot={float: [0, 0.5]}       | space.dropuot: unknown; did you mean 'dropout'? allowed: architecture,
space.filters={int: [0, 32]}          | space.filters: 0 is outside [1, 8192]
space.filters={choice: [1, 8193]}     | space.filters: 8193 is outside [1, 8192]
space.batch_size={float: [16, 32]}    | space.batch_size: found 16.0; allowed: a whole number
space.optimizer={choice: [sgd, adm]}  | space.optimizer: found 'adm'; did you mean 'adam'? allowed: adam, adamw, sgd
space.architecture=lenet5             | training.architecture: stands under space too; keep one of them
"""
REFUSED_SPACES = """
{}, search: {sampler: random, learn_from: [a]} | search.learn_from: random cannot use it; allowed: with one
{}, search: {learn_from: [a, b, a]} | search.learn_from: 'a' stands twice
{}, search: {learn_from: [a, 3]} | search.learn_from[1]: found 3; allowed: the name of a study, or
{}, search: {learn_from: []} | search.learn_from: found []; allowed: at least one value
{dropout: {float: [0, 0.5]}}, search: {try_first: [{dropuot: 1}]} | search.try_first[0].dropuot: not searched; did you m
{dropout: {float: [0, 0.5]}}, search: {try_first: [{}, {dropout: 1}]} | search.try_first[1].dropout: found 1; allowed: 0
{dropout: {float: [0, 0.5]}}, search: {try_first: [{dropout: true}]} | search.try_first[0].dropout: found true; allowed
{dropout: {float: [0, 0.5]}}, search: {try_first: [{epochs: 4}]} | search.try_first[0].epochs: not searched; allowed
{dense: {int: [8, 64], step: 8}}, search: {try_first: [{dense: 9}]} | search.try_first[0].dense: found 9; allowed: 8 to
{dense: {choice: [8, 16]}}, search: {try_first: [{dense: 8}, {dense: 9}]} | search.try_first[1].dense: found 9; allowed:
{dense: {choice: [8, 16]}}, search: {trials: 1, try_first: [{}, {}]} | search.try_first: found 2; allowed: up to search
{dense: {choice: [8, 16]}}, search: {sampler: grid, try_first: [{}]} | search.try_first: a grid tries every
{dense: {choice: [8, 9]}, filters: {int: [8, 9], when: {dense: 9}}}, search: {try_first: [{filters: 8}]} | \
search.try_first[0].filters: not active here; name dense beside it; allowed: 9
{epochs: {choice: [3, 4]}}, stopping: {asha: {grace_period: 5}} | stopping.grace_period: 5 is above the 4 epochs
{learning_rate: {float: [0.1, 1]}}, search: {sampler: grid} | space.learning_rate: a grid needs a choice or a `step:`
{filters: {int: [1, 999]}, dense: {int: [1, 999]}}, search: {sampler: grid} | space.dense: makes a grid of more than
{}, objective: [{maximize: val_accuracy}, {minimize: val_loss}], search: {sampler: gp} | search.sampler: gp has one obj
{dense: {int: [8, 99]}, filters: {choice: [8, 16]}}, search: {sampler: cmaes} | search.sampler: cmaes learns nothing
{}, budget: {gpu_hours: 1}, resources: {gpu: 0} | budget.gpu_hours: trials have no GPU; allowed: with `resources.gpu`
{}, search: {sampler: nsga2, trials: 50} | search.trials: found 50; nsga2 draws its first 50 at random, so it needs more
{}, search: {sampler: nsga3, trials: 9} | search.trials: found 9; nsga3 draws its first 50 at random, so it needs more
"""


def rows(table: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.split(" | ")] for line in table.strip().splitlines()]


@pytest.mark.parametrize(("setting", "line"), rows(REFUSED_SETTINGS))
def test_study_refuses_mistake_with_place_and_allowed(setting: str, line: str, tmp_path: Path) -> None:
    assert refusal(tmp_path, SMALLEST, setting).startswith(line)


@pytest.mark.parametrize(("flow", "line"), rows(REFUSED_SPACES))
def test_study_refuses_settings_that_exclude_each_other(flow: str, line: str, tmp_path: Path) -> None:
    text = f"{{study: a, training: {{architecture: vazquez_base}}, space: {flow}}}"
    assert refusal(tmp_path, text).startswith(line)


def test_stored_study_keeps_its_sampler() -> None:
    """Read a study of an earlier version, which refused fewer pairs."""
    raw = {"study": "s", "training": {"architecture": "vazquez_base"}}
    raw |= {"space": {"filters": {"choice": [8, 16]}}}
    for search in ({"sampler": "cmaes"}, {"sampler": "nsga2", "trials": 20}):
        with pytest.raises(SpecError, match=r"^study: search"):
            parse_spec(raw | {"search": search})
        assert parse_spec(raw | {"search": search}, stored=True).search.sampler == search["sampler"]


def test_genetic_sampler_has_several_generations() -> None:
    raw = {"study": "s", "training": {"architecture": "vazquez_base"}, "space": {}}
    assert parse_spec(raw | {"search": {"sampler": "nsga3"}}).search.trials == 200


@pytest.mark.parametrize(
    ("space", "line"),
    [
        ("dropout_dense: {float: [0, 0.5]}", "space.dropout_dense: unknown; did you mean 'dropout'? allowed: "),
        (
            "dense: {int: [8, 16]}\n  filters: {int: [8, 16]}",
            "space.filters: alexnet has no such hyperparameter; add `when: {architecture: [vazquez_base]}`",
        ),
        ("filters: {int: [0, 9], when: {architecture: vazquez_base}}", "space.filters: 0 is outside [1, 8192]"),
        ("dense: {int: [8, 16], when: {architecture: alexnt}}", "space.dense.when.architecture: 'alexnt' cannot occur"),
    ],
)
def test_space_needs_condition_for_other_architectures(space: str, line: str, tmp_path: Path) -> None:
    text = f"study: demo\ndataset: {{name: mnist}}\nspace:\n  {TWO_NETWORKS}\n  {space}\n"
    assert refusal(tmp_path, text).startswith(line)
    assert spec(text.partition("  dense")[0].partition("  dropout")[0].partition("  filters")[0])


def test_study_refuses_architecture_too_large_for_images(tmp_path: Path) -> None:
    line = refusal(tmp_path, f"study: a\ndataset: {{name: digits}}\nspace: {{{TWO_NETWORKS}}}")
    assert line.startswith("space.architecture: alexnet needs 15x15 images, digits has 8x8")
    assert spec(f"study: a\ndataset: {{image_size: 16}}\nspace: {{{TWO_NETWORKS}}}").architectures[1] == "alexnet"


def test_study_needs_an_architecture_for_every_trial(tmp_path: Path) -> None:
    text = "study: a\nspace: {schedule: cosine, architecture: {choice: [vazquez_base], when: {schedule: cosine}}}"
    assert refusal(tmp_path, text) == "space.architecture.when: not allowed; every trial needs an architecture"


def test_study_lists_several_mistakes_line_by_line(tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text("study: a\nspace: {}\nsearch: {trials: 0, seed: x}\nretries: -1\n")
    with pytest.raises(SpecError) as caught:
        load_spec(tmp_path / "s.yaml")
    assert [line.split(": ")[1] for line in str(caught.value).splitlines()] == [
        "search.trials",
        "search.seed",
        "retries",
    ]


def test_dataset_name_may_be_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    (tmp_path / "study.yaml").write_text(SMALLEST)
    for name in ("photos", "./absent", "a/b", "own-*", "train.parquet"):
        assert load_spec("study.yaml", [f"dataset.name={name}"]).dataset.name == name
    assert refusal(tmp_path, SMALLEST, "dataset.name=absent").endswith(", or a path: ./absent")


@pytest.mark.parametrize("text", [DESIGN, SEVERAL_OBJECTIVES, AS_PUBLISHED, SINGLE])
def test_study_reads_back_as_an_equal_one(text: str) -> None:
    resolved = spec(text)
    again = spec(resolved.to_yaml())
    assert (again, again.to_yaml()) == (resolved, resolved.to_yaml())
    assert again.differences(resolved) == []


def test_study_writes_every_default() -> None:
    written = parse_yaml(spec(SINGLE).to_yaml(), "study.yaml")
    assert written["training"].keys() >= {"epochs", "batch_size", "learning_rate", "epsilon", "schedule", "init"}
    assert written["dataset"]["augment"] == {"flip": False, "crop": 0, "rotate": 0.0, "shift": 0.0}
    assert (written["objective"], written["stopping"]) == ([{"maximize": "val_accuracy"}], "none")
    assert written["search"] == {"sampler": "mixed", "trials": 1, "seed": 0}
    assert written["resources"] == {"cpu": 1, "gpu": "auto", "concurrent": "auto"}
    partly = parse_yaml(spec(DESIGN).to_yaml(), "study.yaml")["training"]
    assert partly["evaluate"] == {"batch_norm": "eval", "augment": True}
    assert not {"architecture", "learning_rate", "epochs"} & partly.keys()  # these stand under space


@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_continuing_keeps_what_the_file_leaves_open(sampler: str) -> None:
    text = f"{SMALLEST}stopping: asha\n"
    rule = "{asha: {type: stop, min_trials: 1}}"
    begun = spec(f"{SMALLEST}search: {{sampler: {sampler}, trials: 9}}\nstopping: {rule}\n")
    continued = spec(f"{text}search: {{trials: 12}}\n").continuing(begun)
    assert continued.differences(begun) == []
    assert (continued.search.sampler, continued.search.trials) == (sampler, 12)
    other = spec(f"{text}search: {{sampler: qmc}}\n").continuing(begun)
    assert other.differences(begun) == [f"search.sampler: {sampler} -> qmc"]


def test_continuing_keeps_a_share_of_earlier_versions() -> None:
    begun = spec(SMALLEST.replace("mnist", "mnist, validation: 0.1"))
    continued = spec(SMALLEST).continuing(begun)
    assert (continued.differences(begun), continued.dataset.validation) == ([], 0.1)
    assert spec(SMALLEST).dataset.decisive == begun.dataset.decisive
    assert spec(SMALLEST).continuing(spec(SMALLEST)).dataset.validation is None


def test_study_derives_its_number_of_trials() -> None:
    space = "study: a\nspace:\n  architecture: vazquez_base\n  batch_size: {choice: [16, 32, 64]}\n"
    assert spec(space).search.trials == 32
    assert spec(f"{space}search: {{sampler: grid}}").search.trials == 3
    assert spec(SINGLE).search.trials == 1


def test_stopping_rule_without_settings_has_defaults() -> None:
    assert spec(SMALLEST + "stopping:\n  asha:\n").stopping == spec(SMALLEST + "stopping: asha").stopping
    assert spec(SMALLEST + "stopping: asha").stopping.asha is not None


@pytest.mark.parametrize(
    ("text", "validation"),
    [
        ("300", 300),
        ("3e2", 300),
        ("0.25", 0.25),
        ("{last: 0.2}", LastFraction(last=0.2)),
        ("{next: 9}", NextImages(next=9)),
    ],
)
def test_dataset_validation_has_four_forms(text: str, validation: object) -> None:
    found = spec(SMALLEST.replace("mnist", f"mnist, validation: {text}")).dataset.validation
    assert (found, type(found)) == (validation, type(validation))


def test_recipe_joins_constants_and_parameters() -> None:
    study = spec(f"study: a\ndataset: {{name: mnist}}\ntraining: {{filters: 8, epochs: 3}}\nspace: {{{TWO_NETWORKS}}}")
    base = study.training_config({"architecture": "vazquez_base", "learning_rate": 0.1})
    assert (base.epochs, base.learning_rate, base.hyperparameters["filters"]) == (3, 0.1, 8)
    assert "filters" not in study.training_config({"architecture": "alexnet"}).hyperparameters


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (("seed: 7", "seed: 8"), "search.seed: 7 -> 8"),
        (("sampler: tpe", "sampler: gp"), "search.sampler: tpe -> gp"),
        (("crop: 4", "crop: 2"), "dataset.augment.crop: 4 -> 2"),
        (("optimizer: adam", "optimizer: sgd"), "training.optimizer: adam -> sgd"),
        (("[32, 64, 128, 256]", "[32, 64]"), "space.batch_size.choice: [32, 64, 128, 256] -> [32, 64]"),
        (("grace_period: 2", "grace_period: 1"), "stopping.asha.grace_period: 2 -> 1"),
        (("{maximize: val_accuracy}", "{minimize: val_loss}"), "objective: [{'maximize': 'val_accuracy'}] -> "),
        (("study: cifar", "study: other\nprotocol: as_published"), "protocol: clean -> as_published"),
    ],
)
def test_differences_list_what_makes_rows_incomparable(change: tuple[str, str], line: str) -> None:
    (found,) = spec(DESIGN.replace(*change)).differences(spec(DESIGN))
    assert found.startswith(line)


def test_differences_ignore_amount_and_place_of_work() -> None:
    text = DESIGN.replace("trials: 64", "trials: 99").replace("cpu: 2, gpu: 0.5, concurrent: 3", "cpu: 1")
    text = text.replace("hours: 2", "hours: 3").replace("top: 3", "top: all") + "retries: 0\nkeep_weights: 9\n"
    text = text.replace("optimizer: adam", "optimizer: adam, precision: bfloat16") + "untrained: true\nlog_every: 40\n"
    text += "log_to: [tensorboard]\n"
    assert spec(text) != spec(DESIGN)
    assert spec(text).differences(spec(DESIGN)) == []


def test_differences_see_another_order_of_a_grid() -> None:
    one, other = "batch_size: {choice: [16, 32]}", "epochs: {choice: [1, 2]}"
    text = "study: a\ntraining: {{architecture: vazquez_base}}\nsearch: {{sampler: {}}}\nspace: {{{}, {}}}"
    assert spec(text.format("grid", one, other)).differences(spec(text.format("grid", other, one)))
    assert not spec(text.format("tpe", one, other)).differences(spec(text.format("tpe", other, one)))


OWN = """
study: own
training: {units: 32}
space:
  architecture: {choice: [tests.support.networks:Tiny, torchvision:resnet18, lenet5_classic]}
  activation: {choice: [relu, tanh], when: {architecture: tests.support.networks:Tiny}}
  dropout: {float: [0, 0.5], when: {architecture: [tests.support.networks:Tiny]}}
"""


def test_study_searches_hyperparameters_of_own_network(tmp_path: Path) -> None:
    study = spec(OWN)
    given = {"architecture": "tests.support.networks:Tiny", "activation": "tanh", "dropout": 0.25}
    expected = {"units": 32, "dropout": 0.25, "normalized": False, "activation": "tanh"}
    assert study.training_config(given).hyperparameters == expected
    assert study.training_config({"architecture": "torchvision:resnet18"}).hyperparameters == {}
    assert spec(study.to_yaml()) == study
    line = refusal(tmp_path, OWN.replace("units: 32", "units: 0.5"))
    assert line.startswith("training.units: found 0.5; allowed: a whole number")
    line = refusal(tmp_path, OWN.replace("[relu, tanh]", "[relu, 3]"))
    assert line.startswith("space.activation: found 3; allowed: text")


def test_stored_study_needs_no_own_network() -> None:
    study = spec(OWN)
    gone = parse_yaml(study.to_yaml().replace("tests.support.networks:Tiny", "gone.since:Tiny"), "study.yaml")
    with pytest.raises(SpecError, match=r"importing 'gone\.since' failed"):
        parse_spec(gone)
    stored = parse_spec(gone, stored=True)
    assert stored.to_dict() == gone
    assert stored.architectures == ["gone.since:Tiny", "torchvision:resnet18", "lenet5_classic"]
    unknown = {"study": "a", "training": {"architecture": "vgg"}, "space": {}}
    with pytest.raises(SpecError, match=r"training.architecture: found 'vgg'; allowed: "):
        parse_spec(unknown, stored=True)  # what needs no import is checked all the same


def test_study_refuses_batch_norm_of_the_batch_when_clean() -> None:
    text = "study: a\ntraining: {architecture: vazquez_base, evaluate: {batch_norm: train}}\nspace: {}\n"
    with pytest.raises(
        SpecError, match=r"training\.evaluate\.batch_norm: 'train' normalizes .* `protocol: as_publ"
    ) as caught:
        spec(text)
    assert "\n" not in str(caught.value)
    assert spec(text + "protocol: as_published\n").protocol == "as_published"
    assert parse_spec(parse_yaml(text, "study.yaml"), stored=True).protocol == "clean"  # its rows stay readable


def test_extra_metrics_are_those_that_are_named() -> None:
    plain = {"study": "s", "dataset": {"name": "mnist"}, "training": {"architecture": "lenet5"}, "space": {}}
    assert parse_spec(plain).extra_metrics == ()
    named = parse_spec(plain | {"metrics": ["val_ece"], "objective": [{"maximize": "val_auroc"}]})
    assert named.extra_metrics == ("val_auroc", "val_ece")
    several = [{"minimize": "val_ece"}, {"maximize": "val_f1"}]
    assert parse_spec(plain | {"objective": several, "search": {"sampler": "nsga2"}}).extra_metrics == (
        "val_f1",
        "val_ece",
    )


def test_class_balance_does_not_change_earlier_studies() -> None:
    plain = {"study": "s", "dataset": {"name": "mnist"}, "training": {"architecture": "lenet5"}, "space": {}}
    earlier = parse_spec(plain).to_dict()
    added = {"focal_gamma": 0.0, "class_weights": "none", "sampling": "shuffled"}
    assert {key: earlier["training"].pop(key) for key in added} == added
    del earlier["metrics"], earlier["classes"]
    begun = parse_spec(earlier, stored=True)
    assert parse_spec(plain | {"metrics": ["val_f1"], "classes": ["test"]}).differences(begun) == []
    balanced = parse_spec(plain | {"training": plain["training"] | {"sampling": "balanced"}})  # type: ignore[operator]
    assert balanced.differences(begun) == ["training.sampling: shuffled -> balanced"]


def test_study_lists_the_weights_of_its_trials() -> None:
    one = spec(SMALLEST)
    assert one.weights == []
    assert one.training["pretrained"] is False
    constant = parse_yaml(SMALLEST, "study.yaml") | {"training": {"architecture": "alexnet", "pretrained": "a.pt"}}
    assert parse_spec(constant).weights == [("alexnet", "a.pt")]
    text = f"study: a\ndataset: {{name: mnist}}\nspace:\n  {TWO_NETWORKS}\n  pretrained: {{choice: [false, a.pt, b.pt], when: {{architecture: alexnet}}}}\n"  # noqa: E501
    assert spec(text).weights == [("alexnet", "a.pt"), ("alexnet", "b.pt")]


@pytest.mark.parametrize(
    ("pretrained", "line"),
    [
        ("3", "training.pretrained: found 3; allowed: true or false or text"),
        ("null", "training.pretrained: found null; allowed: true or false or text"),
        ("[a.pt]", "training.pretrained: found ['a.pt']; allowed: true or false or text"),
    ],
)
def test_study_refuses_pretrained_that_is_no_path(pretrained: str, line: str, tmp_path: Path) -> None:
    assert refusal(tmp_path, SMALLEST, f"training.pretrained={pretrained}") == line


@pytest.mark.parametrize(
    ("setting", "line"),
    [
        ("freeze=-1", "freeze: found -1; should be greater than or equal to 0 or all"),
        ("freeze=al", "freeze: found 'al'; allowed: a whole number or all"),
        ("freeze=true", "freeze: found true; allowed: a whole number or all"),
        ("layer_decay=0", "layer_decay: found 0; should be greater than 0"),
        ("layer_decay=1.1", "layer_decay: found 1.1; should be less than or equal to 1"),
        ("head_learning_rate=-1", "head_learning_rate: found -1; should be greater than 0"),
    ],
)
def test_study_refuses_fine_tuning_out_of_bounds(setting: str, line: str, tmp_path: Path) -> None:
    assert refusal(tmp_path, SMALLEST, f"training.{setting}") == f"training.{line}"


def test_fine_tuning_may_be_searched() -> None:
    space = """
  freeze: {choice: [0, 2, all]}
  layer_decay: {float: [0.5, 1]}
  head_learning_rate: {float: [1e-3, 1], log: true, when: {freeze: [2, all]}}
"""
    searched = spec(SMALLEST.replace("space: {}\n", f"space: {space}"))
    config = searched.training_config({"freeze": "all", "layer_decay": 0.5})
    assert (config.freeze, config.layer_decay, config.head_learning_rate) == ("all", 0.5, None)
    assert parse_spec(parse_yaml(searched.to_yaml(), "study.yaml")) == searched
