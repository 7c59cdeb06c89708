"""Reading results must stay cheap: what `import analysis` loads, and what it costs beside pandas."""

from __future__ import annotations

import json
import subprocess
import sys

HEAVY = ("torch", "ray", "optuna", "scipy", "seaborn", "matplotlib", "jinja2", "statsmodels", "ablations")


def loaded(code: str) -> set[str]:
    script = f"import json, sys\n{code}\nprint(json.dumps(sorted({{name.split('.')[0] for name in sys.modules}})))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout.splitlines()[-1]))


def test_import_is_light():
    assert loaded("import analysis; analysis.columns(); analysis.load; analysis.report").isdisjoint(HEAVY)


def test_the_report_needs_no_network():
    modules = loaded("import analysis.report.rendering, analysis.findings.study")
    assert modules.isdisjoint({"torch", "ray", "optuna", "ablations"})
    assert {"scipy", "matplotlib", "seaborn"} <= modules, "this test can tell"


def test_import_costs_about_as_much_as_pandas():
    script = (
        "import time; a = time.process_time(); import pandas; b = time.process_time(); import analysis;"
        "c = time.process_time(); print((c - a) / (b - a))"
    )
    runs = [
        subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True) for _ in range(3)
    ]
    assert min(float(run.stdout) for run in runs) < 1.5


def test_functions_stay_functions_after_their_modules_are_imported():
    code = (
        "import analysis, analysis.load, analysis.report\nassert callable(analysis.load) and callable(analysis.report)"
    )
    assert "analysis" in loaded(code)


def test_an_unknown_name_is_an_attribute_error():
    import analysis

    assert "select" in dir(analysis)
    assert not hasattr(analysis, "selekt")
