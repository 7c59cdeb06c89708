"""Kinds of problems in the surroundings: the environment, plugins, and a missing terminal."""

from __future__ import annotations

import os
import sys

import pytest
from bad_data import FOLDER, photos
from bad_input_kinds import Arrange, Kind
from victims import Victim


def variable(name: str, value: str) -> Arrange:
    return lambda victim, patch: patch.setenv(name, value)


def without(module: str) -> Arrange:
    def arrange(victim: Victim, patch: pytest.MonkeyPatch) -> None:
        from aimlib import object_store

        object_store.renew_credentials()
        patch.setitem(sys.modules, module, None)

    return arrange


def connection(text: str | None) -> Arrange:
    def arrange(victim: Victim, patch: pytest.MonkeyPatch) -> None:
        from aimlib import object_store

        pytest.importorskip("azure.storage.blob")
        object_store.renew_credentials()
        for name in [name for name in os.environ if name.startswith("AZURE_")]:
            patch.delenv(name)
        if text is not None:
            patch.setenv("AZURE_STORAGE_CONNECTION_STRING", text)

    return arrange


no_account = connection(None)


def token(victim: Victim, patch: pytest.MonkeyPatch) -> None:
    from ablations.execution.ray.auth import prepare_token

    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN"):
        patch.delenv(name, raising=False)
    prepare_token()


def open_scratch(victim: Victim, patch: pytest.MonkeyPatch) -> None:
    from ablations.execution.ray.executor import scratch as folder

    patch.setattr("tempfile.tempdir", str(victim.folder))
    with folder() as made:
        own = made.parent
    own.chmod(0o777)


def scratch(victim: Victim, patch: pytest.MonkeyPatch) -> None:
    from ablations.execution.ray.executor import scratch as folder

    with folder():
        pass


BASE = 'from aimlib.placements import Placement\nclass Evil(Placement):\n    """Evil."""'


def plugin(name: str, code: str, cause: str, remedy: str) -> Kind:
    """Return a kind in which a module with this code is installed as a placement plugin."""

    def arrange(victim: Victim, patch: pytest.MonkeyPatch) -> None:
        site = victim.folder / "site"
        metadata = site / "evil-1.0.dist-info"
        metadata.mkdir(parents=True)
        module = f"evil_{abs(hash(name))}"
        (site / f"{module}.py").write_text(code, encoding="utf-8")
        (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: evil\nVersion: 1.0\n")
        (metadata / "entry_points.txt").write_text(f"[aimlib.placements]\nevil = {module}:Evil\n")
        patch.syspath_prepend(site)
        from aimlib.registry import placements

        patch.setattr(placements, "_classes", dict(placements._classes))

    return Kind(name, "check STUDY --no-timing --set arms.aim.model.placement=evil", "evil", cause, remedy, arrange)


KINDS = [
    Kind(
        "a cache that cannot be created",
        FOLDER,
        "/proc/nowhere",
        "cannot|No such file",
        "AIM_CACHE_DIR|data.cache|another",
        lambda victim, patch: (photos(victim), patch.setenv("AIM_CACHE_DIR", "/proc/nowhere")),
    ),
    Kind(
        "a data folder that does not exist",
        "data prepare stanford_dogs",
        "/proc/data/stanford_dogs/Images",
        "is missing",
        "ablate data download",
        variable("AIM_DATA_ROOT", "/proc/data"),
    ),
    Kind(
        "a missing package for a storage service",
        "status gs://bucket/x",
        "gs://",
        "needs the package google-auth",
        "pip install 'aim-ablations[gs]'",
        without("google.auth"),
    ),
    Kind(
        "a storage without an account",
        "status az://bucket/x",
        "az://bucket/x",
        "AZURE_STORAGE_ACCOUNT_NAME is ''",
        "set credentials",
        no_account,
    ),
    Kind(
        "an invalid connection string",
        "status az://bucket/x",
        "AZURE_STORAGE_CONNECTION_STRING",
        "malformed",
        "set credentials",
        connection("garbage"),
    ),
    Kind(
        "a missing package for a tracker",
        "run STUDY --executor inline --track wandb",
        "wandb",
        "needs|not installed|cannot",
        "pip install",
        without("wandb"),
    ),
    Kind(
        "a missing token file",
        token,
        "RAY_AUTH_TOKEN_PATH",
        "cannot be read",
        "copy the cluster's",
        variable("RAY_AUTH_TOKEN_PATH", "/proc/nowhere"),
    ),
    Kind(
        "a temporary folder that other users can write to",
        scratch,
        "aim-",
        "not a directory that only you can access",
        "set TMPDIR",
        open_scratch,
    ),
    plugin("a plugin that is not Python", "def (", "SyntaxError", "repair or uninstall"),
    plugin(
        "a plugin that fails on import",
        "raise RuntimeError('\x1b[2J' + 'x' * 10**6)",
        "RuntimeError",
        "repair or uninstall",
    ),
    plugin("a plugin that ends the process", "import sys; sys.exit(0)", "SystemExit", "repair or uninstall"),
    plugin("a plugin that fails on import", "import nowhere_at_all", "No module named", "repair or uninstall"),
    plugin("a plugin that registers nothing", "Evil = None", "did not register placement", "correct its entry point"),
    plugin(
        "a plugin without its base class",
        "class Evil: pass",
        "is not a subclass of",
        "from aimlib.placements import Placement",
    ),
    plugin("a plugin without its methods", BASE, "lacks reads", "def reads"),
    plugin(
        "a plugin whose options are not a configuration",
        f"{BASE}\n    def reads(self, layers): return []\n    class Config: pass",
        "Config must be a subclass",
        "ComponentConfig",
    ),
    plugin(
        "a plugin that searches unknown options",
        f"{BASE}\n    def reads(self, layers): return []\n    search_space = {{'x': None}}",
        "lists names that are not options of Config: x",
        "correct them",
    ),
    plugin(
        "a plugin with a name that is already taken",
        "from aimlib.registry import placements\nfrom aimlib.placements import Placement\n"
        "@placements.register('block_entry')\nclass Evil(Placement): pass",
        "registered twice",
        "rename one|repair",
    ),
    plugin(
        "a plugin that returns an unknown layer",
        f"{BASE}\n    def reads(self, layers): return ['nowhere']",
        "nowhere",
        "layer",
    ),
    plugin(
        "a plugin that returns nothing",
        f"{BASE}\n    def reads(self, layers): return None",
        "evil",
        "must|return|repair",
    ),
    plugin(
        "a plugin that returns layers in place of names",
        f"{BASE}\n    def reads(self, layers): return layers",
        "returned layers",
        "make it return their names",
    ),
    plugin(
        "a plugin whose method takes different arguments",
        f"{BASE}\n    def reads(self, layers, network): return []",
        "is called with",
        "write `def reads",
    ),
    plugin(
        "a plugin that is a function",
        "from aimlib.registry import placements\n@placements.register('evil')\ndef Evil(layers): return []",
        "placement 'evil' (Evil) is not a class",
        "write a class with reads(), and decorate the class",
    ),
    plugin(
        "a plugin that raises",
        f"{BASE}\n    def reads(self, layers): raise KeyError('\\x1b[2J')",
        "KeyError",
        "evil|repair",
    ),
]
