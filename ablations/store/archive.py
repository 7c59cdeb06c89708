"""Archives: a study packed so that a reviewer elsewhere can recompute its verdict.

An archive (``.tar.gz``) contains a single folder with:

===================  ================================================================================================
``archive.json``     description: verdict, heads of the ledgers, SHA-256 of every file, what was omitted or replaced
``README.md``        how to recompute the verdict
``study/``           a study directory: plan, frozen plan, rows with predictions, test image labels, the study's code
``original_ledger/`` the original study's ledger: run ids, times and digests of the rows before replacements
``source/``          this package, in case it cannot be installed from elsewhere
===================  ================================================================================================

Photos, checkpoints, trained networks and logs are not included. Names of hosts and devices are replaced by numbered
names, and paths, logins and addresses are removed from configurations and messages. A changed row has a different
digest, so the archived study has its own ledger; the original ledger confirms when each row was settled.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import shutil
import tarfile
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib import metadata, resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from ablations.store.public_rows import Names, public_document, public_rows
from ablations.store.result_store import ResultStore
from aimlib.errors import StoreError, UsageError
from aimlib.paths import Place, advice_on, read_file
from aimlib.records import (
    ANALYSIS_PLAN,
    CLAIM_FILE,
    CODE,
    FAILURES,
    FILE_NAMES,
    IMAGES,
    MODELS_FILE,
    PLANS,
    RUNS,
    SEGMENTS,
    STUDY_FILE,
    write_groups,
    write_table,
)
from aimlib.records.checksums import DOCUMENT_KEY, intact_document
from aimlib.records.ledger import LEDGER, PAGE

if TYPE_CHECKING:
    from analysis.findings.study import Findings

FORMAT = 1
MANIFEST = "archive.json"
STUDY, _ORIGINAL, _SOURCE = "study", "original_ledger", "source"
_PACKAGES = ("aimlib", "ablations", "analysis")
_LEFT_OUT = (
    "photos, checkpoints, trained networks, logs and results of reference steps are not in the archive",
    "names of hosts and devices are numbered; paths, logins, addresses and secrets are removed from configurations and "
    "messages",
)


@dataclass(frozen=True)
class Archive:
    """An archive that was written.

    Attributes
    ----------
    path : path of the archive file.
    verdict : the headline that a reviewer must reproduce.
    rows : number of settled runs in the archive.
    ledger_head : head of the original study's ledger; empty without a ledger.
    looks_private : names of folders or people that remain because the study's hashes depend on them.
    """

    path: Path
    verdict: str
    rows: int
    ledger_head: str
    looks_private: tuple[str, ...] = ()


def pack(findings: Findings, out: Path) -> Archive:
    """Write an archive of a study whose rows have been verified.

    Parameters
    ----------
    findings : result of `analysis.examine`, which verifies the rows.
    out : the file to write; it must not exist, and its name must end in ``.tar.gz``.

    Raises
    ------
    UsageError: the name has a different ending, or the file exists.
    StoreError: a file of the study is damaged, the rows contradict themselves, or the archive cannot be written.
    """
    if not out.name.endswith(".tar.gz"):
        raise UsageError(f"{out}: the name of an archive must end in .tar.gz")
    if out.exists():
        raise UsageError(f"{out} exists; remove it, or choose a different name")
    if findings.contradictions:
        raise StoreError(
            f"{findings.results.directory}: is not packed, because its rows contradict themselves: "
            f"{findings.contradictions[0]}; `ablate verify` lists all contradictions"
        )
    where = findings.results.directory
    try:
        with tempfile.TemporaryDirectory(prefix="ablate-archive-") as scratch:
            folder = Path(scratch) / out.name.removesuffix(".tar.gz")
            folder.mkdir()
            found = _filled(folder, where, findings)
            out.parent.mkdir(parents=True, exist_ok=True)
            _write(folder, out)
    except OSError as error:
        raise StoreError(f"{out}: cannot be written ({error.strerror or error}); check the disk") from error
    return Archive(out, findings.headline, *found)


def _filled(folder: Path, where: Place, findings: Findings) -> tuple[int, str, tuple[str, ...]]:
    """Write all files of an archive; return the number of rows, the ledger's head, and any text that looks private."""
    study = folder / STUDY
    study.mkdir()
    tables, failures = _tables(where)
    names = Names.of_rows([*tables, *failures.values()])
    rows = _copy_rows(tables, failures, study, names)
    _copy_plan(where, study, names)
    _copy_tables(where, study, names)
    _copy_unchanged(where / ANALYSIS_PLAN, study / ANALYSIS_PLAN)
    for path in _files(where / CODE, _JSON):
        _copy_unchanged(path, study / CODE / path.name)
    for path in _files(where / LEDGER, PAGE):
        _copy_unchanged(path, folder / _ORIGINAL / path.name)
    _copy_claim(findings.results.plan.claim, where, study)
    _settle_ledger(study, where)
    private = tuple(_looking_private(study, names))
    _copy_source(folder / _SOURCE)
    head = findings.results.ledger_head[0] or ""
    _describe(folder, findings, head, private)
    return rows, head, private


def _tables(where: Place) -> tuple[list[pa.Table], dict[str, pa.Table]]:
    """Return the settled rows, and the failed attempts by file name."""
    from analysis.reading.files import collect, listed, read_rows  # noqa: PLC0415

    settled = [table for tables in collect(where, lambda path: read_rows(path, _whole)) for table in tables]
    failed = {path.name: table for path in listed(where / FAILURES) for table in read_rows(path, _whole)}
    return settled, failed


def _whole(rows: pa.Table) -> pa.Table:
    return rows


def _copy_rows(settled: list[pa.Table], failed: Mapping[str, pa.Table], study: Path, names: Names) -> int:
    """Write the settled rows to one segment, and copy the failed attempts; return the number of settled rows."""
    for name, rows in failed.items():
        (study / FAILURES).mkdir(exist_ok=True)
        write_table(public_rows(rows, names), study / FAILURES / name)
    if not settled:
        return 0
    groups = [public_rows(rows, names) for rows in settled]
    whole = _first_rows(pa.concat_tables(groups, promote_options="default"))
    digest = hashlib.sha256("\n".join(sorted(whole["run_id"].to_pylist())).encode()).hexdigest()[:20]
    (study / SEGMENTS).mkdir()
    write_groups([whole], whole.schema, study / SEGMENTS / f"{digest}.parquet")
    return len(whole)


def _first_rows(rows: pa.Table) -> pa.Table:
    from analysis.reading.files import first_positions  # noqa: PLC0415

    return rows.take(pa.array(first_positions(rows["run_id"].to_pylist()), type=pa.int64()))


def _copy_plan(where: Place, study: Path, names: Names) -> None:
    """Store every plan that the study has had, without paths, and the current plan last."""
    store = ResultStore(study)
    for path in (*_files(where / PLANS, FILE_NAMES[PLANS]), where / STUDY_FILE):
        document = public_document(_document(path), names)
        store.write_plan({key: value for key, value in document.items() if key not in ("schema_version", DOCUMENT_KEY)})


def _document(path: Place) -> dict[str, Any]:
    content = _content(path)
    if content is None or (document := intact_document(content)) is None:
        raise StoreError(
            f"{path}: is missing or damaged; restore it from a copy, or run `ablate run`, which sets it aside"
        )
    return document


def _content(path: Place) -> bytes | None:
    """Return the content of one of the study's files; None if the file does not exist."""
    try:
        return read_file(path)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StoreError(f"{path}: cannot be read ({error.strerror or error}); {advice_on(error)}") from None


def _copy_tables(where: Place, study: Path, names: Names) -> None:
    from aimlib.records import MODELS, TEST_IMAGES  # noqa: PLC0415
    from analysis.reading.files import listed, read_plain  # noqa: PLC0415

    if (where / MODELS_FILE).exists():
        rows = public_rows(read_plain(where / MODELS_FILE, MODELS), names)
        write_table(rows, study / MODELS_FILE)
    for path in listed(where / IMAGES):
        (study / IMAGES).mkdir(exist_ok=True)
        write_table(read_plain(path, TEST_IMAGES), study / IMAGES / path.name)


_JSON = re.compile(r"[^._].*\.json")


def _files(folder: Place, pattern: re.Pattern[str]) -> list[Place]:
    """Return the study's files in a folder, sorted by name; other files in the folder are not packed."""
    try:
        return sorted((path for path in folder.iterdir() if pattern.fullmatch(path.name)), key=lambda path: path.name)
    except (FileNotFoundError, NotADirectoryError):
        return []


def _copy_unchanged(source: Place, target: Path) -> None:
    if (content := _content(source)) is not None:
        target.parent.mkdir(exist_ok=True)
        target.write_bytes(content)


def _copy_claim(claim: str | None, where: Place, study: Path) -> None:
    """Copy a claim from the user's own file; studies from earlier versions have no stored copy of the claim."""
    from analysis.claims.stored import document_of, is_own  # noqa: PLC0415

    if claim is None or not is_own(claim):
        return
    if (where / CLAIM_FILE).exists():
        _copy_unchanged(where / CLAIM_FILE, study / CLAIM_FILE)
    elif Path(claim).exists():
        ResultStore(study).write_claim(document_of(claim))


def _settle_ledger(study: Path, where: Place) -> None:
    """Enter the archived rows, and the original study's frozen plans, in a new ledger."""
    from analysis.reading import ledger  # noqa: PLC0415

    chain = ResultStore(study).ledger(hashlib.sha256(study.parent.name.encode()).hexdigest()[:12])
    for sha256 in sorted(ledger.read(where).plans):
        chain.plan(sha256)
    chain.join()
    chain.end()
    for name in ("locks", RUNS):
        shutil.rmtree(study / name, ignore_errors=True)
    (study / "mark").unlink(missing_ok=True)


_ROOTS = (
    *("home", "Users", "Volumes", "root", "mnt", "media", "opt", "srv", "var", "tmp", "private", "dev", "run", "net"),
    *("data", "datasets", "scratch", "work", "workspace", "project", "projects", "users", "share", "shared", "storage"),
    *("lustre", "gpfs", "beegfs", "nfs", "afs", "ceph", "cluster", "local", "ssd", "nvme", "export", "content"),
)
"""Top-level folders on common machines."""
_FOLDER = re.compile(rf"(?<![\w.:/])/(?:{'|'.join(_ROOTS)})\d*/[^\s\"'\\,;:]+")


def _looking_private(study: Path, names: Names) -> Iterator[str]:
    """Yield text that still looks like a path or a host name, with its file."""
    for path in [*sorted((study / CODE).glob("*.json")), study / ANALYSIS_PLAN]:
        text = path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
        yield from (f"{path.relative_to(study)}: {each}" for each in _private_in(text, names))
    for run_id, text in names.identities.items():
        yield from (f"identity of run {run_id}: {each}" for each in _private_in(text, names))


def _private_in(text: str, names: Names) -> list[str]:
    found = dict.fromkeys(_FOLDER.findall(text))
    hosts = [
        host for host in names.hosts if len(host) > 3 and re.search(rf"(?<![\w-]){re.escape(host)}(?![\w-])", text)
    ]
    return [*found, *hosts]


def _copy_source(target: Path) -> None:
    """Copy this package, with a pyproject.toml generated from the installed metadata."""
    for package in _PACKAGES:
        root = resources.files(package)
        with resources.as_file(root) as folder:
            shutil.copytree(folder, target / package, ignore=shutil.ignore_patterns("__pycache__", "*.pyc"))
    about = metadata.distribution("aim-ablations")
    needs = [each for each in about.requires or () if "extra ==" not in each]
    lines = [
        "[build-system]",
        'requires = ["setuptools>=77.0.3"]',
        'build-backend = "setuptools.build_meta"',
        "",
        "[project]",
        f"name = {json.dumps(about.metadata['Name'])}",
        f"version = {json.dumps(about.version)}",
        f"requires-python = {json.dumps(about.metadata['Requires-Python'])}",
        f"dependencies = {json.dumps(needs)}",
        "",
        "[project.scripts]",
        'ablate = "ablations.commands.app:command"',
        "",
        "[tool.setuptools.packages.find]",
        f"include = {json.dumps([f'{package}*' for package in _PACKAGES])}",
        "",
        "[tool.setuptools.package-data]",
        '"*" = ["*"]',
    ]
    (target / "pyproject.toml").write_text("\n".join(lines) + "\n", encoding="utf-8")


def _describe(folder: Path, findings: Findings, head: str, private: tuple[str, ...]) -> None:
    """Write the README and the manifest."""
    results = findings.results
    versions = sorted(set(results.runs["versions"].dropna()))
    commits = sorted(set(results.runs["git_commit"].dropna()))
    (folder / "README.md").write_text(_readme(folder.name, findings, head, versions, commits), encoding="utf-8")
    manifest = {
        "format": FORMAT,
        "study": results.plan.name,
        "verdict": findings.headline,
        "comparisons": numbers_of(findings),
        "package_version": metadata.version("aim-ablations"),
        "ledger_head": head,
        "frozen_plan": results.frozen.sha256 if results.frozen is not None else "",
        "commits": commits,
        "versions": [json.loads(each) for each in versions],
        "left_out": list(_LEFT_OUT),
        "looks_private": list(private),
        "files": {name: digest for name, digest, _ in digests(folder)},
    }
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def numbers_of(findings: Findings) -> list[dict[str, Any]]:
    """Return the numbers and verdict of every comparison as plain JSON values, with null for nonfinite numbers."""

    def plain(value: float) -> float | None:
        return float(value) if math.isfinite(value) else None

    return [
        {
            "comparison": each.name,
            "pairs": each.interval.n,
            **{name: plain(getattr(each.interval, name)) for name in ("mean", "lower", "upper")},
            "verdict": each.verdict.kind,
        }
        for each in findings.family.comparisons
    ]


def _readme(name: str, findings: Findings, head: str, versions: Iterable[str], commits: Iterable[str]) -> str:
    frozen = findings.results.frozen
    known = [", ".join(f"{key} {value}" for key, value in json.loads(each).items()) for each in versions]
    return f"""# Archive of the study {findings.results.plan.name}

> {findings.headline}

To recompute this verdict with Python 3.11 or newer:

```sh
tar xzf {name}.tar.gz && pip install ./{name}/source
ablate recompute {name}.tar.gz --report {name}-report
```

The command compares every file with its SHA-256, every row with its ledger and every accuracy with the stored
predictions, determines the verdict by the frozen plan, and says whether it is the verdict above. It does not import any
of the study's code and does not need the photos. The `--report` folder then contains the whole report.

* Frozen plan: {f"SHA-256 {frozen.sha256}, {frozen.at:%Y-%m-%d %H:%M:%S} UTC" if frozen is not None else "none"}
* Ledger of the original study (`original_ledger/`): {f"head {head}" if head else "none"}
* Computed with: {"; ".join(known) or "not stated"}
* Code: {", ".join(commits) or "outside a checkout"}; the study's own code is in `study/code/`

{chr(10).join(f"* {text[0].upper()}{text[1:]}." for text in _LEFT_OUT)}
"""


def digests(folder: Path) -> Iterator[tuple[str, str, int]]:
    """Yield the name, SHA-256 and size of every file except the manifest, sorted by name."""
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        name = path.relative_to(folder).as_posix()
        if name != MANIFEST:
            with path.open("rb") as file:
                yield name, hashlib.file_digest(file, "sha256").hexdigest(), path.stat().st_size


def _write(folder: Path, out: Path) -> None:
    """Write the archive under a temporary name, then rename it; its entries do not contain user names or times."""
    partial = out.with_name(f".{out.name}.part")
    try:
        with tarfile.open(partial, "w:gz", compresslevel=6) as archive:
            for path in sorted(folder.rglob("*")):
                if path.is_file():
                    archive.add(path, f"{folder.name}/{path.relative_to(folder).as_posix()}", filter=_anonymous)
        partial.rename(out)
    finally:
        partial.unlink(missing_ok=True)


def _anonymous(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.uid = entry.gid = entry.mtime = 0
    entry.uname = entry.gname = ""
    entry.mode = 0o644
    return entry
