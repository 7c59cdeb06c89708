"""Template files for running a study on a cluster. Print a file, adapt it, and keep it with the study.

The first lines of a file declare the file's settings as ``#: key = default  explanation``. A setting is inserted
wherever ``{{key}}`` appears. `docs/cluster.md` explains the files.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from aimlib.errors import ConfigError, unknown_name

_FOLDER = Path(__file__).parent
_FILES = {
    "ray": "ray-cluster.yaml",
    "onpremise": "ray-onpremise.yaml",
    "kuberay": "kuberay-rayjob.yaml",
    "slurm": "slurm.sbatch",
    "job": "job-submit.sh",
    "docker": "Dockerfile",
    "dockerignore": "dockerignore",
    "apptainer": "aim-ablations.def",
}
_SETTING = re.compile(r"^#: (?P<key>\w+) = (?P<value>\S+)  +(?P<about>.+)$", re.MULTILINE)
_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:/@%+,~-]*|[/.~][A-Za-z0-9_.:/@%+,~-]*")
"""Values that do not need quotes in a shell script or in YAML."""


@dataclass(frozen=True)
class Setting:
    """A setting in a template file.

    Attributes
    ----------
    about : explanation of the setting.
    """

    key: str
    value: str
    about: str


@dataclass(frozen=True)
class Template:
    """A template file.

    Attributes
    ----------
    name : name by which `ablate cluster` finds the file.
    file : usual name of the file.
    about : first sentence of the file.
    settings : settings of the file.
    text : content of the file.
    """

    name: str
    file: str
    about: str
    settings: tuple[Setting, ...]
    text: str

    @property
    def summary(self) -> str:
        """Description of the file, followed by one line per setting."""
        lines = [f"    --set {setting.key}={setting.value}  {setting.about}" for setting in self.settings]
        return "\n".join([f"{self.name}  ({self.file})  {self.about}", *lines])

    def render(self, overrides: Iterable[str] = ()) -> str:
        """Return the text of the file with all settings inserted.

        Parameters
        ----------
        overrides : settings, each in the form ``key=value``.

        Raises
        ------
        ConfigError: a key is unknown, or a value would need quotes.
        """
        values = {setting.key: setting.value for setting in self.settings}
        problems = []
        for override in overrides:
            key, sign, value = override.partition("=")
            if not sign:
                problems.append(f"--set {override}: has no '='; give key=value")
            elif key not in values:
                problems.append(f"--set {override}: {unknown_name('setting', key, values)}")
            elif not _PLAIN.fullmatch(value):
                problems.append(
                    f"--set {key}: {value!r} would need quotes; use only letters, digits and . _ : / @ % + , ~ - , "
                    "or edit the printed file"
                )
            else:
                values[key] = value
        if problems:
            raise ConfigError(problems)
        text = _SETTING.sub(lambda match: f"#: {match['key']} = {values[match['key']]}  {match['about']}", self.text)
        for key, value in values.items():
            text = text.replace("{{" + key + "}}", value)
        return text


def templates() -> dict[str, Template]:
    """Return all shipped files, by name."""
    return {name: _read(name, file) for name, file in _FILES.items()}


def template(name: str) -> Template:
    """Return the shipped file with this name.

    Raises
    ------
    ConfigError: no file has this name.
    """
    if name not in _FILES:
        raise ConfigError([f"cluster: {unknown_name('file', name, _FILES)}"])
    return _read(name, _FILES[name])


def _read(name: str, file: str) -> Template:
    text = (_FOLDER / file).read_text(encoding="utf-8")
    settings = tuple(Setting(**match.groupdict()) for match in _SETTING.finditer(text))
    about = next(line for line in text.splitlines() if line.startswith("# "))
    return Template(name, file, about.removeprefix("# "), settings, text)
