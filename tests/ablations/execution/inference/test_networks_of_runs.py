"""Networks that a study kept are stored with rows, loaded, compared with the runs' predictions, and exported."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from drivers import until
from in_process import ablate
from PIL import Image
from tiny_study import changed, write

import ablations
import analysis
from ablations.execution import device_references
from ablations.execution.inference.kept import kept_run
from ablations.execution.inference.predicting import Comparison
from ablations.sessions.launch import run
from ablations.store import ResultStore
from aimlib.errors import DataError, StoreError, UsageError
from aimlib.memory.attach import AimNetwork
from aimlib.registry import datasets
from aimlib.training import reference_step
from aimlib.training.devices import device_name
from aimlib.training.reproducibility import reproducible


@pytest.fixture(scope="module")
def computed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("kept")
    run(write(folder, changed({"keep": "best", "base.training.epochs": 3})), folder / "out", executor="inline")
    return folder / "out"


@pytest.fixture
def directory(computed: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(computed, tmp_path / "study"))


def file_of(directory: Path, run_id: str) -> Path:
    (found,) = (directory / "networks").glob(f"{run_id}.*.safetensors")
    return found


def test_every_row_refers_to_its_network_and_the_store_is_verified(directory: Path) -> None:
    runs = analysis.load(directory).runs
    assert len(list((directory / "networks").iterdir())) == len(runs) == 4
    assert (runs["kept_epoch"] == runs["selected_epoch"]).all()
    for run_id, digest in runs[["run_id", "network"]].itertuples(index=False):
        assert file_of(directory, run_id).name == f"{run_id}.{digest[:16]}.safetensors"
    found = ablations.verify(directory)
    assert found.is_intact
    assert found.inspection.read["networks"] == 4


@pytest.mark.parametrize("which", ["baseline/0", "aim/1"])
def test_a_kept_network_reproduces_the_stored_predictions(directory: Path, which: str) -> None:
    results = analysis.load(directory)
    found = ablations.predict(results, which)
    arm, seed = which.split("/")
    row = results.runs.query("arm == @arm and seed == @seed", local_dict={"arm": arm, "seed": int(seed)}).iloc[0]
    assert found.compared == Comparison(100, 0, 0.0, same_device=True)
    assert found.run_id == row["run_id"]
    assert (found.predicted == found.labels).mean() == row["test_accuracy"]
    frame = found.frame()
    assert list(frame.columns[:4]) == ["image", "label", "predicted", "probability"]
    assert np.allclose(frame.filter(like="p(").sum(axis=1), 1, atol=1e-6)
    network = ablations.network(results, which)
    assert not network.training


def test_a_network_with_changed_values_predicts_differently_and_is_detected(directory: Path) -> None:
    kept = kept_run(directory, "aim/0")
    noise = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for value in kept.stored.state.values():
            if value.is_floating_point():
                value.add_(torch.randn(value.shape, generator=noise))
    from ablations.execution.inference import predicting

    images = kept.test_images()
    order = np.arange(len(images.labels))
    outputs = predicting._outputs(kept, images, order, torch.device("cpu"))
    compared = predicting._compared(kept, outputs, torch.device("cpu"))
    assert compared is not None
    assert compared.different > 20
    assert not compared.reproduced
    assert "predictions equal the stored predictions; the others differ by up to" in str(compared)


def test_a_damaged_or_missing_file_is_named_and_never_used(directory: Path, capsys) -> None:
    run_id = kept_run(directory, "aim/0").run.run_id
    path = file_of(directory, run_id)
    content = bytearray(path.read_bytes())
    content[-7] ^= 4
    path.write_bytes(content)
    with pytest.raises(
        StoreError, match=f"{path.name}: is damaged: its content does not match the hash in the run's row"
    ):
        ablations.predict(directory, "aim/0")
    found = ablations.verify(directory)
    assert [str(each).partition(" is damaged")[0] for each in found.inspection.damages] == [f"networks/{path.name}"]
    assert found.missing == ()
    path.unlink()
    with pytest.raises(StoreError, match="is missing, although the run's row refers to it"):
        ablations.network(directory, run_id)
    found = ablations.verify(directory)
    assert found.is_intact
    assert found.lost_networks == (f"networks/{path.name}",)
    code, out, _ = ablate(capsys, "verify", directory)
    assert (code, f"1 trained network is missing: networks/{path.name}" in out) == (0, True)


def test_files_to_which_no_row_refers_are_removed_once_the_run_is_settled(directory: Path) -> None:
    run_id = kept_run(directory, "aim/0").run.run_id
    path = file_of(directory, run_id)
    other = path.with_name(f"{run_id}.{'0' * 16}.safetensors")
    shutil.copy(path, other)
    open_run = path.with_name(f"{'a' * 20}.{'0' * 16}.safetensors")
    shutil.copy(path, open_run)
    ResultStore(directory).clean()
    assert path.exists()
    assert open_run.exists()
    assert not other.exists()


def test_without_keep_no_network_is_stored_and_the_message_says_what_to_set(study, tmp_path: Path) -> None:
    run(study({"seeds": 1, "base.training.epochs": 1}), tmp_path / "out", executor="inline")
    assert not list((tmp_path / "out" / "networks").iterdir())
    assert analysis.load(tmp_path / "out").runs["network"].isna().all()
    with pytest.raises(
        UsageError, match=r"the network of run \w+ \(aim/0\) was not kept; set `keep: best` in the study"
    ):
        ablations.network(tmp_path / "out", "aim/0")


def test_keep_is_not_part_of_the_run_id_and_a_wrong_value_lists_the_choices(study) -> None:
    from ablations.planning.plan import plan
    from ablations.spec.study import read_study

    ids = [
        [each.run_id for each in plan(read_study(study({"keep": keep}, f"{keep}.yaml"))).runs]
        for keep in ("best", "none")
    ]
    assert ids[0] == ids[1]
    with pytest.raises(UsageError, match=r"keep: .*'best', 'last' or 'none'"):
        read_study(study({"keep": "all"}))


def test_photos_in_folders_are_prepared_like_the_data_and_their_folders_are_their_classes(
    directory: Path, tmp_path: Path
) -> None:
    test = (
        datasets.create(datasets.parse({"name": "digits", "size": 8, "train_images": 40, "test_images": 100}))
        .load()
        .test
    )
    photos = tmp_path / "photos"
    for at in range(30):
        label = photos / str(test.labels[at])
        label.mkdir(parents=True, exist_ok=True)
        Image.fromarray(test.pixels[at, :, :, 0]).save(label / f"{at:02}.png")
    (photos / ".hidden.png").write_bytes(b"no photo")
    found = ablations.predict(directory, "aim/0", photos)
    whole = ablations.predict(directory, "aim/0")
    at = [int(name.rpartition("/")[2].removesuffix(".png")) for name in found.names]
    assert np.allclose(found.probabilities, whole.probabilities[at], atol=1e-5)
    assert found.labels is not None
    assert (found.labels == test.labels[at]).all()
    assert found.compared is None


def test_the_message_about_a_folder_without_readable_photos_states_the_reason(directory: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nowhere: is not a folder"):
        ablations.predict(directory, "aim/0", tmp_path / "nowhere")
    (tmp_path / "photos").mkdir()
    with pytest.raises(DataError, match="contains no photo"):
        ablations.predict(directory, "aim/0", tmp_path / "photos")
    (tmp_path / "photos" / "a.png").write_bytes(b"\x89PNG")
    with pytest.raises(DataError, match=r"1 file cannot be read: a\.png: .*; repair or remove it"):
        ablations.predict(directory, "aim/0", tmp_path / "photos")


def test_the_command_writes_tables_and_shows_no_test_accuracy_before_the_verdict(directory, tmp_path, capsys) -> None:
    code, out, _ = ablate(capsys, "predict", directory, "--run", "aim/0", "--csv", "p.csv", "--parquet", "p.parquet")
    assert code == 0
    assert "100 of 100 predictions equal the stored predictions" in out
    assert "accuracy: " in out
    assert len(pd.read_csv("p.csv")) == len(pd.read_parquet("p.parquet")) == 100
    for name in (directory / "runs").iterdir():
        if name.stem == kept_run(directory, "aim/1").run.run_id:
            removed = name
    removed.unlink()
    code, out, _ = ablate(capsys, "predict", directory, "--run", "aim/0")
    assert "The accuracy on the test images will be shown once the verdict is due." in out
    assert "accuracy: " not in out


def test_features_are_the_outputs_of_a_layer_for_each_image(directory: Path) -> None:
    kept = kept_run(directory, "baseline/0")
    found = ablations.features(directory, "baseline/0", "fc", images=70)
    whole = ablations.predict(directory, "baseline/0")
    assert found.shape == (70, 10)
    assert np.allclose(torch.tensor(found).softmax(1), whole.probabilities[:70], atol=1e-5)
    with pytest.raises(UsageError, match=r"layer 'layerX': the network has no such module; .*modules: conv1"):
        ablations.features(directory, "baseline/0", "layerX")
    assert dict(kept.stored.module().named_modules())["fc"] is not None
    with pytest.raises(UsageError, match=r"images=0: use at least 1, or None for all"):
        ablations.features(directory, "baseline/0", "fc", images=0)


def test_a_layer_has_the_same_name_with_and_without_memory(directory: Path) -> None:
    for which in ("baseline/0", "aim/0"):
        short, long = (ablations.features(directory, which, name, images=3) for name in ("layer2", "network.layer2"))
        assert np.array_equal(short, long)


@pytest.mark.parametrize("which", ["baseline/0", "aim/0"])
def test_the_exported_program_computes_the_same_scores_as_the_network(
    directory: Path, tmp_path: Path, which: str
) -> None:
    path = ablations.export(directory, which, tmp_path / "network.pt2")
    program = torch.export.load(path).module()
    kept = kept_run(directory, which)
    x_BCHW = torch.from_numpy(kept.test_images().pixels[:5].copy()).permute(0, 3, 1, 2).float()
    with torch.no_grad():
        expected = kept.stored.module()(kept.stored.input_scaling()(x_BCHW))
        assert torch.allclose(program(x_BCHW), expected, atol=1e-5)
        assert program(x_BCHW[:1]).shape == (1, 10)
    with pytest.raises(UsageError, match=r"use a name that ends in \.pt2"):
        ablations.export(directory, which, tmp_path / "network.onnx")


def test_the_memory_contains_the_stored_values_and_the_parts_add_up_to_the_outputs(directory: Path) -> None:
    found = ablations.memory(directory, "aim/1", images=40)
    kept = kept_run(directory, "aim/1")
    network = kept.stored.module()
    assert isinstance(network, AimNetwork)
    with torch.no_grad():
        assert np.array_equal(found.content, network.source(1)[0].numpy())
    assert found.epochs["epoch"].tolist() == [0, 1, 2, 3]
    last = found.epochs[found.epochs["epoch"] == kept.stored.epoch].iloc[0]
    assert last["rms"] == pytest.approx(np.sqrt((found.content.astype(float) ** 2).mean()))
    assert last["sd"] == pytest.approx(found.content.astype(float).std())
    weights = found.weights[found.weights["epoch"] == kept.stored.epoch].set_index("layer")
    for reading, reader in zip(network.attachment.readers, network.readers(), strict=True):
        assert weights.loc[reading.layer, "read"] == pytest.approx(float(reader.read_weight.detach().norm()), rel=1e-6)
    layer = found.contributions["layer"].iloc[0]
    reader = network.network.get_submodule(layer)
    outputs = ablations.features(directory, "aim/1", f"network.{layer}", images=40).astype(float)
    without = torch.zeros_like(reader.read_weight)
    reader.read_weight.data.copy_(without)  # this is the first layer that reads, so nothing else changes its input
    seen = []
    reader.register_forward_hook(lambda _m, _i, output: seen.append(output.double()))
    scaled = kept.stored.input_scaling()(torch.from_numpy(kept.test_images().pixels[:40].copy()).permute(0, 3, 1, 2))
    with torch.no_grad():
        network(scaled)
    own = torch.cat(seen).numpy()
    row = found.contributions.iloc[0]
    assert row["own"] == pytest.approx(np.sqrt((own**2).mean()), rel=1e-4)
    assert row["read"] == pytest.approx(np.sqrt(((outputs - own) ** 2).mean()), rel=1e-4)
    assert f"{len(found.contributions)} layers that read" in found.caption()
    assert found.figure().axes
    with pytest.raises(UsageError, match="its network has no memory; specify a run of a different arm"):
        ablations.memory(directory, "baseline/0")


def test_a_killed_and_resumed_session_stores_the_same_networks(study, farm, tmp_path: Path, computed: Path) -> None:
    expected = analysis.load(computed).runs.set_index("run_id")["network"].to_dict()
    path, out = study({"keep": "best", "base.training.epochs": 3}), tmp_path / "killed"
    driver = farm.run(path, out)
    until(lambda: (out / "networks").exists() and any((out / "networks").iterdir()))
    farm.kill(driver)
    assert farm.wait(farm.run(path, out)) == 0
    assert analysis.load(out).runs.set_index("run_id")["network"].to_dict() == expected
    assert len(list((out / "networks").iterdir())) == 4


def test_two_devices_round_alike_if_their_reference_steps_agree() -> None:
    """The name is not sufficient, because virtual machines report the same name for processors with different
    instructions."""
    cpu = torch.device("cpu")
    with reproducible(threads=1, tf32=False):
        digest = reference_step.digest_of(cpu, "float32")
    row = {"device": "cpu", "device_name": device_name(cpu), "threads": 1, "reference": digest}

    def like(**changed: object) -> bool:
        return device_references.rounds_like(row | changed, cpu, precision="float32", tf32=False)

    assert like()
    assert like(reference=None), "rows without a reference step are compared by name"
    assert not like(reference="0" * len(digest))
    assert not like(device_name="another processor", reference=None)
    assert not like(device="cuda")
