"""Loading results must stay cheap: the modules that `import analysis` loads, and its import time relative to pandas."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
from synthetic_study import ARMS, FakeStudy, write_study

HEAVY = ("torch", "ray", "optuna", "scipy", "seaborn", "matplotlib", "jinja2", "statsmodels", "ablations")


def loaded(code: str) -> set[str]:
    script = f"import json, sys\n{code}\nprint(json.dumps(sorted({{name.split('.')[0] for name in sys.modules}})))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout.splitlines()[-1]))


def test_importing_the_package_does_not_load_heavy_modules():
    assert loaded("import analysis; analysis.columns(); analysis.load; analysis.report").isdisjoint(HEAVY)


def test_writing_a_report_does_not_import_torch_ray_or_optuna():
    modules = loaded("import analysis.report.rendering, analysis.findings.study")
    assert modules.isdisjoint({"torch", "ray", "optuna", "ablations"})
    assert {"scipy", "matplotlib", "seaborn"} <= modules, "the test can fail"


def test_a_verdict_does_not_need_scipy_stats_or_figures(tmp_path):
    study = FakeStudy(ARMS, list(range(8)), looks=[5, 8])  # levels for several looks are roots of an equation
    directory = write_study(tmp_path / "study", study, np.random.default_rng(0))
    code = (
        f"import analysis, sys\nfrom analysis.statistics.planned import gated_arms\n"
        f"found = analysis.examine(analysis.load({str(directory)!r}, epochs=gated_arms), further=False)\n"
        f"print(found.headline, file=sys.stderr)\n"
        f"assert 'scipy.special' in sys.modules\n"
        f"assert not {{'scipy.stats', 'scipy.optimize'}} & set(sys.modules)"
    )
    assert loaded(code).isdisjoint({"torch", "ray", "optuna", "seaborn", "matplotlib", "sklearn", "ablations"})


def test_queries_of_runs_do_not_need_scipy(tmp_path):
    directory = write_study(tmp_path / "study", FakeStudy(ARMS, list(range(5))), np.random.default_rng(0))
    code = (
        f"import sys\nfrom ablations.commands.app import main\nsys.argv = ['ablate', 'results', {str(directory)!r}]\n"
        "try: main()\nexcept SystemExit: pass"
    )
    assert loaded(code).isdisjoint(set(HEAVY) - {"ablations"})


def test_the_import_takes_about_as_long_as_importing_pandas():
    script = (
        "import time; a = time.process_time(); import pandas; b = time.process_time(); import analysis;"
        "c = time.process_time(); print((c - a) / (b - a))"
    )
    runs = [
        subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True) for _ in range(3)
    ]
    assert min(float(run.stdout) for run in runs) < 1.5


def test_functions_remain_accessible_after_modules_with_the_same_names_are_imported():
    code = (
        "import analysis, analysis.load, analysis.report\nassert callable(analysis.load) and callable(analysis.report)"
    )
    assert "analysis" in loaded(code)


def test_an_unknown_name_raises_an_attribute_error():
    import analysis

    assert "select" in dir(analysis)
    assert not hasattr(analysis, "selekt")
