"""A copy of a search that optuna-dashboard can show: a journal in the study directory, or a database.

The copy is written but never read back; the journal determines which trials were proposed. A copy that is missing,
truncated or different is rewritten. If the copy cannot be written, the search continues.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, cast
from urllib.parse import parse_qsl, unquote, urlsplit

from ablations.store.file_locks import FileLock
from aimlib.errors import UsageError

if TYPE_CHECKING:
    from optuna.storages import BaseStorage
    from optuna.trial import FrozenTrial

JOURNAL = "optuna.journal"
_LOCK = "optuna.lock"
_LOCK_TIMEOUT_S = 60.0
_OWNER = "study directory"


class DashboardCopy:
    """The copy of a search.

    Parameters
    ----------
    storage : see `ablations.spec.search.SearchSpec.storage`.
    directory : directory of the screening.
    owner : text that marks studies in a database as copies of this search.
    say : receives messages for the user.

    Raises
    ------
    UsageError: the database cannot be reached, or its driver is not installed.
    """

    def __init__(self, storage: str, directory: Path, owner: str, say: Callable[[str], None]) -> None:
        self._url = _resolved(storage)
        self._journal = directory / JOURNAL if storage == "journal" else None
        self._lock = directory / _LOCK
        self._owner, self._say = owner, say
        self._complained = False
        if self._url not in ("journal", "none"):
            try:
                self._open()
            except Exception as error:  # noqa: BLE001 -- a database client may raise any exception
                reason = _without_login(_reason(error), self._url)
                raise UsageError(f"search.storage: {_shown(self._url)} cannot be used: {reason}") from None

    def update(self, name: str, trials: Sequence[FrozenTrial], *, final: bool = False) -> None:
        """Write these trials to the study `name` in the storage.

        Parameters
        ----------
        final : whether these are all trials; if not, a copy with more trials belongs to a search that is being resumed.

        Raises
        ------
        UsageError: the database contains a study with this name that is not a copy of this search.
        """
        if self._url == "none":
            return
        lock = FileLock(self._lock)  # unlike Optuna's own lock, the system releases this lock when its holder dies
        try:
            if lock.acquire(timeout_s=_LOCK_TIMEOUT_S):
                self._update(name, trials, final=final)
            else:
                self._complain(f"another process has been writing it for more than {_LOCK_TIMEOUT_S:g} s")
        except UsageError:
            raise
        except Exception as error:  # noqa: BLE001 -- a database may raise any exception, and the search continues
            self._complain(_without_login(_reason(error), self._url))
        finally:
            lock.close()

    def _complain(self, reason: str) -> None:
        if not self._complained:
            self._say(
                f"the copy of the search for optuna-dashboard cannot be written ({reason}); the search continues, "
                f"and the copy is updated as soon as possible"
            )
        self._complained = True

    def _update(self, name: str, trials: Sequence[FrozenTrial], *, final: bool) -> None:
        if self._journal is None:
            _copy(self._open(), name, trials, self._owner, final=final)
            return
        if _cut_off(self._journal):
            self._discard(self._journal, "it ends in the middle of a line")
        try:
            _copy(self._open(), name, trials, self._owner, final=final)
        except Exception as error:  # noqa: BLE001 -- Optuna may raise any exception for a broken journal
            self._discard(self._journal, _reason(error))
            _copy(self._open(), name, trials, self._owner, final=final)

    def _discard(self, journal: Path, reason: str) -> None:
        self._say(f"{journal}: broken ({reason}); it is only a copy, and will be rewritten")
        journal.unlink(missing_ok=True)

    def _open(self) -> BaseStorage:
        import optuna  # noqa: PLC0415

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        if self._journal is not None:
            from optuna.storages import JournalStorage  # noqa: PLC0415
            from optuna.storages.journal import JournalFileBackend  # noqa: PLC0415

            backend = JournalFileBackend(str(self._journal), lock_obj=_Held())
            return cast("BaseStorage", JournalStorage(backend))
        return cast("BaseStorage", optuna.storages.get_storage(self._url))


class _Held:
    """A lock for a journal whose writer already holds a lock."""

    def acquire(self) -> bool:
        return True

    def release(self) -> None:
        pass


def _copy(storage: BaseStorage, name: str, trials: Sequence[FrozenTrial], owner: str, *, final: bool) -> None:
    """Write the trials that are missing from the copy; rewrite a copy that differs or has more trials at the end."""
    study = _study(storage, name, owner)
    there = storage.get_all_trials(study, deepcopy=False)
    if (final and len(there) > len(trials)) or not all(
        _same(old, new) for old, new in zip(there, trials, strict=False)
    ):
        storage.delete_study(study)
        study, there = _study(storage, name, owner), []
    for number, trial in enumerate(trials):
        if number >= len(there):
            storage.create_new_trial(study, template_trial=trial)
        elif not there[number].state.is_finished():
            _settle(storage, there[number], trial)


def _study(storage: BaseStorage, name: str, owner: str) -> int:
    from optuna.exceptions import DuplicatedStudyError  # noqa: PLC0415
    from optuna.study import StudyDirection  # noqa: PLC0415

    with suppress(DuplicatedStudyError):
        study: int = storage.create_new_study([StudyDirection.MAXIMIZE], name)
        storage.set_study_user_attr(study, _OWNER, owner)
        return study
    study = storage.get_study_id_from_name(name)
    attributes = storage.get_study_user_attrs(study)
    if not attributes and not storage.get_n_trials(study):
        # The process that created the study was killed before it marked the study as a copy.
        storage.set_study_user_attr(study, _OWNER, owner)
    elif attributes.get(_OWNER) != owner:
        raise UsageError(
            f"search.storage: the database contains a study {name!r} that does not belong to this directory's search; "
            "use a different database, rename your study, or remove the study in the database (optuna delete-study "
            "--study-name)"
        )
    return study


def _same(old: FrozenTrial, new: FrozenTrial) -> bool:
    """Return whether two records can be of the same trial; either record may be more recent."""
    steps = old.intermediate_values.keys() & new.intermediate_values.keys()
    if old.params != new.params or any(old.intermediate_values[n] != new.intermediate_values[n] for n in steps):
        return False
    if not (old.state.is_finished() and new.state.is_finished()):
        return True
    return bool(old.state == new.state and old.values == new.values and old.user_attrs == new.user_attrs)


def _settle(storage: BaseStorage, old: FrozenTrial, new: FrozenTrial) -> None:
    for key, value in new.user_attrs.items():
        if old.user_attrs.get(key) != value:
            storage.set_trial_user_attr(old._trial_id, key, value)
    for step, value in new.intermediate_values.items():
        if step not in old.intermediate_values:
            storage.set_trial_intermediate_value(old._trial_id, step, value)
    if new.state.is_finished():
        storage.set_trial_state_values(old._trial_id, new.state, new.values)


def _cut_off(journal: Path) -> bool:
    """Return whether the last line of a journal is incomplete; the next line would then be lost with it."""
    try:
        with journal.open("rb") as file:
            if file.seek(0, 2) == 0:
                return False
            file.seek(-1, 2)
            return file.read(1) != b"\n"
    except FileNotFoundError:
        return False


def _resolved(storage: str) -> str:
    """Return the URL of a storage, read from an environment variable if the study names one.

    Raises
    ------
    UsageError: the variable is not set, or contains no URL.
    """
    if not storage.startswith("$"):
        return storage
    name = storage.strip("${}")
    url = os.environ.get(name, "")
    if "://" not in url:
        raise UsageError(
            f"search.storage: the environment variable {name} {'contains no URL' if url else 'is not set'}; set it to "
            f"the URL of a database, e.g. postgresql://user:password@host/db"
        )
    return url


def _shown(url: str) -> str:
    """Return a URL without login data, that is, without the user, the password and the options."""
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2].partition('?')[0]}"


def _without_login(text: str, url: str) -> str:
    """Return a database client's message without the URL's user and password."""
    if "://" not in url:
        return text
    place = urlsplit(url)
    options = [value for _, value in parse_qsl(place.query)]
    secrets = [unquote(part) for part in (place.password, place.username) if part] + options
    for secret in [*secrets, *([place.password] if place.password else [])]:
        text = text.replace(secret, "...") if len(secret) > 1 else text
    return text


def _reason(error: Exception) -> str:
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[0]}" if text else type(error).__name__
