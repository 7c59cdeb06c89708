"""`make gpu-study`: real studies on a card with Ray within the time limit, one of them killed halfway.

Finished runs are kept in the results folder. If the same folder is used, the studies resume on a different card.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import harness
from bench.gpu import about, page, results
from bench.gpu.report import Outcome
from bench.harness import ROOT, row

_POLL_S = 0.5
_LAST_S = 40.0
"""Seconds before the end at which a session must save its runs."""
_TO_DIE_S = 30.0
_REPORT = ("report.md", "figures")


@dataclass(frozen=True)
class Study:
    """A study to run.

    Attributes
    ----------
    number, name, title : as for steps, with numbers starting at 101.
    file : name of the shipped study.
    overrides : texts of the form ``key.path=value``.
    killed : whether the study's first session is killed halfway.
    """

    number: int
    name: str
    title: str
    file: str
    overrides: tuple[str, ...]
    killed: bool = False


def studies(photos: Path, breeds: Path | None, device: str, share: str) -> list[Study]:
    """Return the studies: the small network on all breeds at 64 px, and ResNet50 on 20 breeds at 224 px."""
    small = (f"data.root={photos}", f"data.classes={_breeds(photos)}")
    packed = (f"resources.gpus={share}", "resources.cpus=2")
    large: tuple[str, ...] = ()
    if breeds is not None:
        large = (f"data.root={breeds}", f"data.classes={_breeds(breeds)}")
    file = "controlled"
    if device == "cpu":
        tiny = ("data.size=16", "training.epochs=1", "training.batch_size=64", "training.schedule.warmup_epochs=0")
        packed = (*tiny, "model.backbone.widths=[4,4,4,4]", "seeds=2", "resources.cpus=1")
        large, file = (*large, *packed), "controlled_small"
    kinds = f"{_breeds(photos)} breeds"
    found = [Study(101, "study-small", f"controlled_small on {kinds}", "controlled_small", small + packed, killed=True)]
    if breeds is not None:
        title = f"controlled on {_breeds(breeds)} breeds" + (" at 224 px" if device != "cpu" else ", a tiny network")
        found.append(Study(102, "study-large", title, file, large))
    return found


def _breeds(tree: Path) -> int:
    return sum(path.is_dir() for path in (tree / "Images").iterdir())


@dataclass
class Session:
    """A running `ablate run` command."""

    study: Study
    directory: Path
    process: subprocess.Popen[bytes]

    @classmethod
    def begin(cls, study: Study, directory: Path, log: Path) -> Session:
        """Start the command."""
        command = [sys.executable, "-c", "from ablations.commands.app import command; command()", "run", study.file]
        command += ["--out", str(directory), *(part for each in study.overrides for part in ("--set", each))]
        paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
        env = os.environ | {"PYTHONPATH": os.pathsep.join(paths), "COLUMNS": "120"}
        env.setdefault("AIM_CACHE_DIR", str(directory.parent / "cache"))
        with log.open("ab") as output:
            process = subprocess.Popen(command, stdout=output, stderr=output, env=env, start_new_session=True)
        return cls(study, directory, process)

    def wait(self, until: float, enough: int | None = None) -> bool:
        """Wait until the command ends, a number of runs is settled, or the time `until` is reached.

        Return whether the command ended.
        """
        while time.monotonic() < until and self.process.poll() is None:
            if enough is not None and len(settled(self.directory)) >= enough:
                break
            time.sleep(_POLL_S)
        return self.process.poll() is not None

    def kill(self) -> None:
        """Kill only the driver, as if the node were lost. Ray's processes then exit on their own."""
        self.process.kill()
        self.process.wait()

    def leave(self) -> int:
        """Ask the command to save its runs and to end; return its exit code."""
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(_LAST_S - 5)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            return self.process.wait()


def settled(directory: Path) -> set[str]:
    """Return the ids of runs that have a result."""
    from ablations.store import ResultStore

    return ResultStore(str(directory)).settled() if (directory / "study.json").exists() else set()


def planned(directory: Path) -> int:
    """Return the number of runs in the study, or 0 before the study is planned."""
    from ablations.store import ResultStore

    plan = ResultStore(str(directory)).read_plan() if (directory / "study.json").exists() else None
    return len(plan["runs"]) if plan else 0


def run(study: Study, out: Path, device: str, ends: float, kill: bool = True) -> Outcome:
    """Run a study until it is done or time runs out, and return its outcome."""
    directory, log, began = out / study.name, out / f"{study.name}.log", time.monotonic()
    before, sessions, lost = settled(directory), 1, set[str]()
    session = Session.begin(study, directory, log)
    over = False
    if study.killed and kill:
        over = _until_half(session, began, ends)
        if not over:
            session.kill()
            kept = settled(directory)
            sessions += 1
            time.sleep(1.0)
            session = Session.begin(study, directory, log)
            over = session.wait(ends - _LAST_S)
            lost = kept - settled(directory)
    over = over or session.wait(ends - _LAST_S)
    code = session.process.returncode if over else session.leave()
    return _outcome(study, directory, log, device, time.monotonic() - began, before, sessions, lost, code)


def _until_half(session: Session, began: float, ends: float) -> bool:
    """Wait until half of the runs are settled or half of the time has passed; return whether the session has ended."""
    until, half = began + (ends - began) / 2, None
    while half is None and time.monotonic() < until and session.process.poll() is None:
        time.sleep(_POLL_S)
        half = (planned(session.directory) + 1) // 2 or None
    return session.wait(until, half)


def _outcome(
    study: Study,
    directory: Path,
    log: Path,
    device: str,
    seconds: float,
    before: set[str],
    sessions: int,
    lost: set[str],
    code: int,
) -> Outcome:
    done, wanted = settled(directory), planned(directory)
    problems = [f"{len(lost)} runs were lost when the driver was killed"] if lost else []
    notes = [
        f"{sessions} session{'s' if sessions > 1 else ''}" + (", the first killed with -9" if sessions > 1 else "")
    ]
    rows: list[dict[str, Any]] = []
    if not wanted:
        problems.append(f"nothing was planned: `ablate run` exited with code {code}")
    else:
        pairs, doubled, failed = _pairs(directory)
        problems += [f"{doubled} runs are stored twice"] * bool(doubled) + [f"{failed} runs failed"] * bool(failed)
        state = "all of them" if len(done) == wanted else "PARTIAL: the time was over"
        notes.insert(0, f"{len(done)} of {wanted} runs have a result, {pairs} complete pairs; {state}")
        fresh = len(done - before)
        figures = (("runs settled in this call", fresh, ""), ("runs per hour", 3600 * fresh / seconds, "runs/h"))
        rows = [vars(row(study.title, name, [float(value)], unit)) for name, value, unit in figures]
    card, versions = _card(device)
    return Outcome(
        study.number,
        study.name,
        study.title,
        "FAIL" if problems else "PASS",
        "; ".join(problems),
        round(seconds, 1),
        device,
        card,
        versions,
        rows,
        notes=notes,
        log="\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-30:]) if problems else "",
    )


def _pairs(directory: Path) -> tuple[int, int, int]:
    """Return three numbers: seeds for which every arm has a result, runs that are stored twice, and failed runs."""
    import analysis

    rows = analysis.load(directory).runs
    done = rows[rows["status"] != "failed"]
    arms = rows["arm"].nunique()
    whole = int((done.groupby("seed")["arm"].nunique() == arms).sum()) if len(done) else 0
    return whole, int(done["run_id"].duplicated().sum()), int((rows["status"] == "failed").sum())


def _card(device: str) -> tuple[dict[str, Any], dict[str, str]]:
    """Return a description of the card, and the versions of packages.

    A separate process determines the description, so that this process does not use any of the card's memory.
    """
    if device == "cpu":
        return {}, about.versions()
    code = "import json, pathlib; from bench.gpu import about; from bench.gpu.report import Report\n"
    code += "print(json.dumps(about.card(Report(pathlib.Path('/dev/null'), 'cuda', 60, pathlib.Path('.')))))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1]) if done.returncode == 0 else {}
    return found, about.versions()


def write_report(study: Study, out: Path, device: str) -> Path:
    """Write the report on the stored runs and return its folder: docs/gpu-<study> for results from a card."""
    import analysis

    page_path = analysis.report(out / study.name, out / f"{study.name}-report")
    if device == "cpu":
        return page_path.parent
    target = ROOT / "docs" / f"gpu-{study.name}"
    target.mkdir(exist_ok=True)
    for name in _REPORT:
        given = page_path.parent / name
        if given.is_dir():
            shutil.copytree(given, target / name, dirs_exist_ok=True)
        elif given.exists():
            shutil.copyfile(given, target / name)
    return target


def tree(given: Path, out: Path) -> Path:
    """Return the tree of photos, as given or unpacked from an archive; it contains ``Images``."""
    if given.is_file():
        target = out / "photos" / given.name.partition(".")[0]
        if not target.exists():
            target.mkdir(parents=True)
            with tarfile.open(given) as archive:
                archive.extractall(target, filter="data")
        given = target
    found = next((path.parent for path in [given / "Images", *sorted(given.glob("*/Images"))] if path.is_dir()), None)
    if found is None:
        raise SystemExit(f"PHOTOS={given}: there is no folder `Images`; give a tree in the layout of Stanford Dogs")
    return found.resolve()


def main(arguments: list[str] | None = None) -> int:
    """Run the studies; return 1 if a run failed, was lost or is stored twice, otherwise 0."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photos", type=Path, required=True, help="tree or archive of all breeds, for 64 px")
    parser.add_argument(
        "--breeds", type=Path, help="tree or archive of breeds for 224 px; if omitted, the large network is not trained"
    )
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--minutes", type=float, default=10.0, help="minutes for all studies together")
    parser.add_argument(
        "--share",
        default="0.25",
        help="share of a card for a run of the small network; auto measures the required share",
    )
    parser.add_argument("--out", type=Path, default=ROOT / "results" / "gpu", help="folder for the study directories")
    asked = parser.parse_args(arguments)
    out = asked.out.absolute()
    out.mkdir(parents=True, exist_ok=True)
    ends = time.monotonic() + 60 * asked.minutes
    breeds = tree(asked.breeds, out) if asked.breeds else None
    wanted = studies(tree(asked.photos, out), breeds, asked.device, asked.share)
    how = {"when": time.strftime("%Y-%m-%d", time.gmtime()), "command": f"make gpu-study MINUTES={asked.minutes:g}"}
    how |= {"commit": about.commit(), "machine": harness.machine()}
    kept = harness.RESULTS if asked.device != "cpu" else out
    outcomes = []
    for number, study in enumerate(wanted):
        left = ends - time.monotonic()
        share = left / 2 if number + 1 < len(wanted) else left
        outcomes.append(run(study, out, asked.device, time.monotonic() + share))
        results.keep(outcomes[-1], how, kept)
        _tell(outcomes[-1])
        if planned(out / study.name):
            print(f"report: {write_report(study, out, asked.device)}")
    if asked.device != "cpu":
        page.write()
    return int(any(outcome.status == "FAIL" for outcome in outcomes))


def _tell(outcome: Outcome) -> None:
    print(f"{outcome.status} {outcome.title} {outcome.reason} ({outcome.seconds:.0f} s)")
    for note in outcome.notes:
        print(f"  {note}")
    if outcome.log:
        print(f"--- end of the study's output\n{outcome.log}\n---")


if __name__ == "__main__":
    sys.exit(main())
