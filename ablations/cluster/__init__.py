"""Files to start a study on a cluster with: shipped to be printed, adapted and kept beside the study.

A file says in its first lines what can be set in it, ``#: key = default  explanation``, and where it stands,
``{{key}}``. `docs/cluster.md` goes through them.
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
"""What may stand in a shell script and in YAML without quotes and means itself there."""


@dataclass(frozen=True)
class Setting:
    """What can be set in a file.

    Attributes
    ----------
    about : what it is, in a sentence.
    """

    key: str
    value: str
    about: str


@dataclass(frozen=True)
class Template:
    """A file to adapt.

    Attributes
    ----------
    name : as `ablate cluster` takes it.
    file : name under which it is usually saved.
    about : the file's own first sentence.
    """

    name: str
    file: str
    about: str
    settings: tuple[Setting, ...]
    text: str

    @property
    def summary(self) -> str:
        """What it is, and on a line each what can be set in it."""
        lines = [f"    --set {setting.key}={setting.value}  {setting.about}" for setting in self.settings]
        return "\n".join([f"{self.name}  ({self.file})  {self.about}", *lines])

    def render(self, overrides: Iterable[str] = ()) -> str:
        """Return the file with its settings in place.

        Parameters
        ----------
        overrides : ``key=value`` each.

        Raises
        ------
        ConfigError: an unknown key, or a value that would not stand for itself in a script.
        """
        values = {setting.key: setting.value for setting in self.settings}
        problems = []
        for override in overrides:
            key, sign, value = override.partition("=")
            if not sign:
                problems.append(f"--set {override}: give key=value")
            elif key not in values:
                problems.append(f"--set {override}: {unknown_name('setting', key, values)}")
            elif not _PLAIN.fullmatch(value):
                problems.append(
                    f"--set {key}: {value!r} would need quotes there; use letters, digits and . _ : / @ % + , ~ - , or "
                    f"write it into the printed file"
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
    """Return every shipped file by its name."""
    return {name: _read(name, file) for name, file in _FILES.items()}


def template(name: str) -> Template:
    """Return one shipped file; ConfigError if there is none of that name."""
    if name not in _FILES:
        raise ConfigError([f"cluster: {unknown_name('file', name, _FILES)}"])
    return _read(name, _FILES[name])


def _read(name: str, file: str) -> Template:
    text = (_FOLDER / file).read_text(encoding="utf-8")
    settings = tuple(Setting(**match.groupdict()) for match in _SETTING.finditer(text))
    about = next(line for line in text.splitlines() if line.startswith("# "))
    return Template(name, file, about.removeprefix("# "), settings, text)
