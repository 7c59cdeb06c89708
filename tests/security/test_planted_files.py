"""No file in a study directory is ever unpickled or executed, regardless of its name."""

from __future__ import annotations

import base64
import io
import json
import pickle
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from victims import Bomb, Victim

from ablations.spec.study import read_study
from aimlib.errors import ConfigError, UsageError
from aimlib.records import write_table

READS = ("load", "load several", "examine", "status", "results", "results --csv", "report")


def all_ok(said: dict[str, str]) -> None:
    assert set(said.values()) == {"ok"}, said


def refused(said: dict[str, str], file: str, *entries: str) -> None:
    """Check that these functions refuse the file, with a message that contains its name and says what to do."""
    for entry in entries or said:
        assert said[entry] != "ok", entry
        assert file in said[entry]
        assert re.search(r"delete|restore|run `ablate run`|another|update|give |read it with", said[entry]), said[entry]


def test_an_unpickled_payload_is_detected(tmp_path: Path) -> None:
    pickle.loads(pickle.dumps(Bomb(tmp_path / "sentinel")))
    assert (tmp_path / "sentinel").is_dir()


# Files that do not belong to a study

_NAMES = (
    "tuner.pkl",
    "params.pkl",
    "trainable.pkl",
    "searcher-state.pkl",
    "ray/tuner.pkl",
    "ray/experiment/params.pkl",
    "ray/experiment/basic-variant-state-2026.json",
    "runs/results.pkl",
    "runs/array.npy",
    "runs/notes.parquet.pkl",
    "runs/.hidden.parquet",
    "segments/_metadata.parquet",
    "failures/array.npz",
    "images/train.npy",
    "packed/pixels.bin",
    "optuna.pkl",
    "cache/data.pt",
    "__pycache__/analysis.cpython-311.pyc",
)


def test_pickles_are_never_loaded_under_any_name(victim: Victim) -> None:
    for name in _NAMES:
        victim.plant(name)
    hidden = base64.b64encode(victim.bomb).decode()
    state = {"checkpoints": [json.dumps({"_type": "CLOUDPICKLE_FALLBACK", "value": victim.bomb.hex()}), hidden]}
    victim.plant("experiment_state-2026-01-01_00-00-00.json", json.dumps(state))
    victim.plant("ray/experiment_state-2026-01-01_00-00-00.json", json.dumps(state))
    objects = io.BytesIO()
    np.save(objects, np.array([Bomb(victim.sentinel)], dtype=object), allow_pickle=True)
    victim.plant("predictions.npy", objects.getvalue())
    code = f"import os; os.makedirs({str(victim.sentinel)!r})\n"
    for name in ("conftest.py", "sitecustomize.py", "__init__.py", "runs/__init__.py", "plugin.py"):
        victim.plant(name, code)
    victim.plant("study.yaml", f"!!python/object/apply:os.makedirs [{victim.sentinel}]\n")
    all_ok(victim.read())
    all_ok(victim.run())
    assert "2 of 2 runs are already settled" in victim.printed


# Files that are read, replaced with a pickle


def run_file(victim: Victim) -> str:
    return f"runs/{victim.runs[0].name}"


def segment(victim: Victim) -> str:
    return f"segments/{'0' * 20}.parquet"


def failure(victim: Victim) -> str:
    victim.runs[0].rename(victim.folder.parent / "moved")
    return f"failures/{(victim.directory / 'runs' / 'x').stem * 20}.001.parquet".replace("x" * 20, "a" * 20)


@pytest.mark.parametrize("name", [run_file, segment, failure])
def test_a_pickle_in_place_of_rows_is_refused(victim: Victim, name: Callable[[Victim], str]) -> None:
    path = victim.plant(name(victim))
    said = victim.read()
    refused(said, str(path), *READS)
    if path.parent.name == "segments":
        all_ok(victim.run())
        assert f"segments/{path.name} is damaged" in victim.printed
        assert (victim.directory / "damaged" / f"segments-{path.name}").exists()
        all_ok(victim.read(report=False))


@pytest.mark.parametrize("name", ["models.parquet", "images"])
def test_a_pickle_in_place_of_a_table_is_refused(victim: Victim, name: str) -> None:
    if name == "images":
        name = f"images/{next((victim.directory / 'images').iterdir()).name}"
    path = victim.plant(name)
    said = victim.read(report=False)
    for message in said.values():
        assert message == "ok" or str(path) in message
    assert any(message != "ok" for message in said.values())


@pytest.mark.parametrize(
    "content",
    [
        None,
        b"\xff\xfe",
        b"null",
        b'{"schema_version": 1}',
        *(pytest.param(text, marks=pytest.mark.slow) for text in (b"", b"[]", b'"text"', b"{}")),  # two seconds each
    ],
)
@pytest.mark.parametrize("name", ["study.json", "analysis_plan.json"])
def test_an_invalid_plan_is_refused(victim: Victim, name: str, content: bytes | None) -> None:
    path = victim.plant(name, content)
    said = victim.read(report=False)
    if name == "study.json":
        refused(said, str(path))
    for message in said.values():
        assert message == "ok" or str(path) in message


def test_a_pickle_in_place_of_the_mark_or_an_old_plan_is_refused(victim: Victim) -> None:
    victim.plant("plans/000.json")
    victim.plant("mark")
    all_ok(victim.read(report=False))
    assert set(victim.run()) == {"run"}


# Checkpoints


def torch_saved(content: Any) -> bytes:
    import torch

    out = io.BytesIO()
    torch.save(content, out)
    return out.getvalue()


def forms(victim: Victim, run_id: str) -> dict[str, bytes]:
    bomb = Bomb(victim.sentinel)
    state = {"format": 1, "run_id": run_id, "epoch": bomb, "network": bomb}
    return {"pickle": victim.bomb, "archive": torch_saved(bomb), "state": torch_saved(state)}


@pytest.mark.parametrize(
    "form", [*(pytest.param(form, marks=pytest.mark.slow) for form in ("pickle", "archive")), "state"]
)
def test_a_checkpoint_is_never_unpickled(victim: Victim, form: str) -> None:
    from aimlib.training.checkpointing import FILE

    run_id = victim.runs[0].stem
    victim.runs[0].unlink()
    path = victim.plant(f"checkpoints/{run_id}/{FILE}", forms(victim, run_id)[form])
    victim.run()
    assert not victim.sentinel.exists()
    assert f"{path} is damaged: it is not a readable checkpoint" in victim.printed
    assert len(victim.runs) == 2, "the run is computed from the beginning"


# Tables with hostile metadata


def rewritten(path: Path, table: pa.Table) -> None:
    pq.write_table(table, path)


class Foreign(pa.ExtensionType):  # type: ignore[misc]
    """An extension type whose metadata is a pickle, as in old versions of pyarrow."""

    def __init__(self, serialized: bytes) -> None:
        self.serialized = serialized
        super().__init__(pa.string(), "arrow.py_extension_type")

    def __arrow_ext_serialize__(self) -> bytes:
        return self.serialized

    @classmethod
    def __arrow_ext_deserialize__(cls, storage: pa.DataType, serialized: bytes) -> Foreign:
        return cls(serialized)


@pytest.mark.parametrize("hostile", ["extension", "pandas", "plain extension metadata"])
@pytest.mark.parametrize("name", ["run", "models.parquet"])
def test_a_tables_metadata_is_not_executed(victim: Victim, name: str, hostile: str) -> None:
    path = victim.runs[0] if name == "run" else victim.directory / name
    table = pq.ParquetFile(path).read()
    column = table.schema.names[1]
    number = table.schema.get_field_index(column)
    if hostile == "extension":
        array = pa.ExtensionArray.from_storage(Foreign(victim.bomb), table[column].combine_chunks().cast(pa.string()))
        schema = table.schema.set(number, pa.field(column, array.type))
        table = pa.Table.from_arrays([*table.columns[:number], array, *table.columns[number + 1 :]], schema=schema)
    elif hostile == "pandas":
        pandas = {
            "index_columns": [{"kind": "range", "name": "../../x", "start": 0, "stop": 10**12, "step": 1}],
            "columns": [{"name": column, "field_name": column, "pandas_type": "object", "numpy_type": "object"}],
            "column_indexes": [{"name": None, "metadata": {"encoding": "pickle"}}],
            "attributes": {"_metadata": victim.bomb.hex()},
            "pandas_version": "9",
        }
        table = table.replace_schema_metadata((table.schema.metadata or {}) | {b"pandas": json.dumps(pandas).encode()})
    else:
        keys = {b"ARROW:extension:name": b"arrow.py_extension_type", b"ARROW:extension:metadata": victim.bomb}
        schema = table.schema.set(number, table.schema.field(number).with_metadata(keys))
        table = pa.Table.from_arrays(table.columns, schema=schema)
    rewritten(path, table)
    for message in victim.read(report=False).values():
        assert message == "ok" or str(path) in message


# JSON


def nested(depth: int) -> str:
    return "[" * depth + "]" * depth


def bombs(text: str) -> dict[str, str]:
    document = json.loads(text)
    huge = json.dumps(document).replace('"delta_pp": 1.0', '"delta_pp": 1e999')
    return {
        "deep": nested(200_000),
        "deep inside": text.replace('"description": ""', f'"description": {nested(100_000)}', 1)
        if '"description": ""' in text
        else text.rstrip().removesuffix("}") + f', "more": {nested(100_000)}}}',
        "infinite": huge,
        "nan": json.dumps(document).replace('"delta_pp": 1.0', '"delta_pp": NaN'),
        "twice": text.rstrip().removesuffix("}") + ', "runs": []}',
        "long number": text.rstrip().removesuffix("}") + ', "seeds": [' + "9" * 10_000 + "]}",
        "large seed": text.replace('"seed": 0', '"seed": 99999999999999999999999999', 1),
        "surrogate": text.replace('"planted"', '"\\ud800"', 1),
    }


@pytest.mark.parametrize(
    "bomb", ["deep", "deep inside", "infinite", "nan", "twice", "long number", "large seed", "surrogate"]
)
@pytest.mark.parametrize("name", ["study.json", "analysis_plan.json"])
def test_malicious_json_is_refused(victim: Victim, name: str, bomb: str) -> None:
    text = (victim.directory / name).read_text()
    path = victim.plant(name, bombs(text)[bomb])
    began = time.monotonic()
    said = victim.read(report=False)
    if (name, bomb) == ("study.json", "deep"):
        said |= victim.run()
    assert time.monotonic() - began < 20
    for message in said.values():
        assert message == "ok" or str(path.parent) in message, message


@pytest.mark.slow
def test_malicious_json_in_a_row_is_refused(victim: Victim) -> None:
    path = victim.runs[0]
    table = pq.ParquetFile(path).read()
    for column in ("config", "versions", "plugins"):
        number = table.schema.get_field_index(column)
        table = table.set_column(number, table.schema.field(number), pa.array([nested(100_000)]))
    write_table(table, path)  # with matching checksums
    said = victim.read()
    refused(said, path.name, "examine", "report")  # the row contradicts the ledger
    assert all(message == "ok" or path.name in message for message in said.values()), said


@pytest.mark.slow
@pytest.mark.parametrize("column", ["readers", "differences"])
def test_malicious_json_in_a_model_is_refused(victim: Victim, column: str) -> None:
    path = victim.directory / "models.parquet"
    table = pq.ParquetFile(path).read()
    number = table.schema.get_field_index(column)
    table = table.set_column(number, table.schema.field(number), pa.array([nested(100_000)] * table.num_rows))
    rewritten(path, table)
    assert set(victim.read()) == set(READS)


# YAML

_TAGS = (
    "!!python/object/apply:os.makedirs [SENTINEL]",
    "!!python/object/new:os.makedirs [SENTINEL]",
    "!!python/name:os.system",
    "!!python/module:os",
    "!!python/object:conftest.Bomb {sentinel: SENTINEL}",
    "!!map {name: x}\n--- !!python/object/apply:os.makedirs [SENTINEL]",
    "{name: !!python/object/apply:os.makedirs [SENTINEL]}",
)


@pytest.mark.parametrize("text", _TAGS)
@pytest.mark.parametrize("where", ["study", "claim", "set"])
def test_yaml_tags_are_not_executed(victim: Victim, text: str, where: str) -> None:
    import analysis.claims

    text = text.replace("SENTINEL", str(victim.sentinel))
    path = victim.folder / "hostile.yaml"
    path.write_text(text)
    readers: dict[str, Callable[[], object]] = {
        "study": lambda: read_study(path),
        "claim": lambda: analysis.claims.read_claim(str(path)),
        "set": lambda: read_study(victim.study, [f"name={text}"]),
    }
    with pytest.raises(UsageError) as error:
        readers[where]()
    assert not victim.sentinel.exists()
    if where != "set":
        assert "hostile.yaml" in str(error.value)


def test_aliases_that_expand_excessively_are_refused_immediately(victim: Victim) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    victim.study.write_text("\n".join(lines))
    began = time.monotonic()
    with pytest.raises(ConfigError, match="aliases"):
        read_study(victim.study)
    assert time.monotonic() - began < 5


def test_a_claim_file_named_in_a_planted_plan_is_not_executed(victim: Victim) -> None:
    claim = victim.plant("claim.yaml", f"!!python/object/apply:os.makedirs [{victim.sentinel}]")
    document = victim.plan()
    victim.plant_plan(document | {"claim": str(claim)})
    said = victim.read()
    assert any(str(claim) in message for message in said.values())


# Packed data


def test_packed_photos_that_are_pickles_are_packed_again(victim: Victim) -> None:
    from PIL import Image

    from aimlib.registry import datasets

    for split in ("train", "test"):
        for number, label in enumerate(("a", "b")):
            folder = victim.folder / "photos" / split / label
            folder.mkdir(parents=True)
            Image.new("RGB", (9, 9), (20 * number, len(split), 7)).save(folder / "1.png")
    data = {"name": "image_folder", "root": str(victim.folder / "photos"), "size": 8, "classes": 2}
    before = datasets.create(datasets.parse(data)).load().fingerprint
    kept = [path for path in (victim.folder / "cache").rglob("*") if path.is_file() and path.suffix != ".lock"]
    assert kept
    for path in kept:
        path.chmod(0o600)
        path.write_bytes(victim.bomb)
    assert datasets.create(datasets.parse(data)).load().fingerprint == before
    assert not victim.sentinel.exists()


def test_the_study_without_planted_tags_is_readable(victim: Victim) -> None:
    assert yaml.safe_load(victim.study.read_text())["name"] == read_study(victim.study).spec.name
