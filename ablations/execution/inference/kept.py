"""Loading a run's trained network from its study directory."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from ablations.store import networks
from ablations.store.folder import folder_at
from ablations.store.leases import Terms
from ablations.store.run_logs import Run, find
from aimlib.component import absolute
from aimlib.config import RunConfig
from aimlib.datasets.base import DatasetPlugin, Images
from aimlib.errors import ConfigError, DataError, StoreError, UsageError
from aimlib.own_code import parts
from aimlib.paths import Place, place
from aimlib.registry import datasets
from aimlib.training import network_files
from aimlib.training.network_files import StoredNetwork
from analysis.reading.files import read_settled_of

if TYPE_CHECKING:
    from analysis import Results

_COLUMNS = [
    "run_id",
    "network",
    "kept_epoch",
    "device",
    "device_name",
    "threads",
    "reference",
    "data_fingerprint",
    "versions",
    "identity",
]


@dataclass(frozen=True)
class KeptRun:
    """A run whose network is kept.

    Attributes
    ----------
    run : its id, arm and seed.
    row : columns of the run's row that record where and how it was computed.
    stored : the run's network.
    config : the run's configuration.
    where : the study directory.
    """

    run: Run
    row: dict[str, Any]
    stored: StoredNetwork
    config: RunConfig
    where: Place

    def data(self, root: str | None = None) -> DatasetPlugin:
        """Return the run's data set.

        Parameters
        ----------
        root : folder of the data on this machine; None means the folder that the run used.
        """
        config = self.config.data
        if root is not None:
            if "root" not in type(config).model_fields:
                raise UsageError(f"--data-root: the data set {config.name} has no root; omit the option")
            config = config.model_copy(update={"root": absolute(root)})
        plugin: DatasetPlugin = datasets.create(config)
        return plugin

    def test_images(self, root: str | None = None) -> Images:
        """Return the run's test images.

        Raises
        ------
        DataError: the images are missing on this machine, or differ from the images of the run.
        """
        found = self.data(root).load_known(self.row["data_fingerprint"])
        if found.fingerprint != self.row["data_fingerprint"]:
            raise DataError(
                f"{self.config.data.name}: the data here differs from the run's data (fingerprint "
                f"{found.fingerprint} instead of {self.row['data_fingerprint']}); compare the two with "
                f"`ablate data info {self.config.data.name}`"
            )
        return found.test


def kept_run(source: str | Path | Results, run: str) -> KeptRun:
    """Return a run and its network.

    Parameters
    ----------
    source : study directory or its URL in object storage, or the `Results` that `analysis.load` returns.
    run : run id or the start of one, or ``ARM/SEED``.

    Raises
    ------
    UsageError: `run` does not match exactly one run, or its network was not kept.
    StoreError: this is not a study directory, or the network's file is missing or damaged.
    """
    where = place(source) if isinstance(source, str | Path) else source.directory
    meant = find(where, run)
    rows = read_settled_of(where, _COLUMNS, [meant.run_id]).to_pylist()
    if not rows:
        raise UsageError(
            f"{where}: run {meant.run_id} ({meant.arm}/{meant.seed}) is not finished; run `ablate run` again, or "
            "specify a finished run"
        )
    (row,) = rows
    if row["network"] is None:
        raise UsageError(
            f"{where}: the network of run {meant.run_id} ({meant.arm}/{meant.seed}) was not kept; set `keep: best` in "
            "the study before the run is computed: a finished run is not repeated, so specify a new directory with "
            "--out"
        )
    file = where / networks.name_of(meant.run_id, row["network"])
    content = networks.read(folder_at(where, Terms()), meant.run_id, row["network"])
    stored = network_files.read(content, file)
    if stored.run_id != meant.run_id:
        raise StoreError(
            f"{file}: contains the network of a different run, {stored.run_id}; restore the file from a copy"
        )
    config = _parsed(stored.config, row["identity"] or "{}", f"{where}: run {meant.run_id} ({meant.arm}/{meant.seed})")
    parts.refuse_other_code(config, row["identity"] or "{}", f"{where}: run {meant.run_id}")
    return KeptRun(meant, row, stored, config, where)


def _parsed(config: Any, identity: str, where: str) -> RunConfig:
    """Return a run's configuration; if the user's own code is missing, the error says what to do."""
    try:
        return RunConfig.parse(config)
    except ConfigError as error:
        if '"code":"' not in identity:
            raise
        raise UsageError(
            f"{where} uses your own code, which this process has not loaded ({'; '.join(error.problems)}); give the "
            "file that registers it with --plugin FILE; in Python, import that file before the call"
        ) from error


def network(source: str | Path | Results, run: str) -> nn.Module:
    """Return a run's trained network, on the CPU and in evaluation mode.

    Its input is a batch of images [images, channels, height, width] scaled as in training; `KeptRun.stored` contains
    the scaling. In contrast, `ablations.predict` takes unscaled images.

    Parameters
    ----------
    source : study directory or its URL in object storage, or the `Results` that `analysis.load` returns.
    run : run id or the start of one, or ``ARM/SEED``.

    Raises
    ------
    UsageError: `run` does not match exactly one run, its network was not kept, or a plugin is not installed.
    StoreError: this is not a study directory, or the network's file is missing or damaged.
    """
    return kept_run(source, run).stored.module()
