"""A session on a Ray cluster runs in a child process, which is replaced if the cluster loses its head node.

Ray 2.60 ends a driver whose head has not answered for 60 s by calling ``_exit(1)``: no except clause, exit handler or
other thread can prevent this. The command line therefore forks before it imports anything large. The child runs the
session. The parent passes signals on, and exits in the same way as its child. If Ray ended the child, the parent waits
until a process answers at the address of the cluster, and forks again: the new child resumes the study from its store.

A pipe tells the parent whether Python or Ray ended the child: Python writes to the pipe when it exits, and Ray's
``_exit`` does not.
"""

from __future__ import annotations

import atexit
import ctypes
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from ablations.execution import signals

HEAD_LOST = 75
"""Exit code of a session that detected the loss of Ray before Ray ended it (EX_TEMPFAIL in sysexits.h)."""
_RAYS_EXIT, _REFUSED = 1, 2
_PASSED_ON = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_SENT_BY_THE_KERNEL = 0x80  # SI_KERNEL: Ctrl-C on a terminal, which the child also receives
_POLL_S, _REFUSED_S = 2.0, 15.0
_SHORT_LIFE_S, _SHORT_LIVES = 60.0, 5
"""After `_SHORT_LIVES` consecutive children that each lost Ray within `_SHORT_LIFE_S` seconds, the next child is not
replaced."""
_DIES_WITH_ITS_PARENT = 1  # PR_SET_PDEATHSIG


def is_possible() -> bool:
    """Return whether this process is the command line itself, is running on Linux, and can fork."""
    arguments = sys.argv[1:]
    is_the_program = bool(arguments) and sys.orig_argv[-len(arguments) :] == arguments
    return sys.platform == "linux" and is_the_program and threading.active_count() == 1


def is_child() -> bool:
    """Return whether this process is the child of a parent that replaces it."""
    return _is_child


_is_child = False


@dataclass(frozen=True)
class _Ended:
    """How a child ended.

    Attributes
    ----------
    code : exit code of the child, or the negative number of the signal that ended it.
    by_itself : whether Python ended the process.
    stopped_by : the last signal that was passed on to the child; 0 if there was none.
    seconds : how long the child ran.
    """

    code: int
    by_itself: bool
    stopped_by: int
    seconds: float

    @property
    def is_refused(self) -> bool:
        """Whether the child could not start, because Ray was not running yet or no node could hold the runs."""
        return self.by_itself and self.code == _REFUSED and not self.stopped_by

    @property
    def lost_its_head(self) -> bool:
        if self.by_itself:
            return self.code == HEAD_LOST
        return self.code in (_RAYS_EXIT, -signal.SIGABRT)


def enter(address: str, limit_s: Callable[[], float], say: Callable[[str], None]) -> None:
    """Fork, and return in the child process; the parent waits, and exits with the exit code of its last child.

    Parameters
    ----------
    address : address of the cluster.
    limit_s : function that returns the maximum time to wait for a new head, in seconds.
    say : function that prints a line.
    """
    lives, lost_at = 0, None
    while True:
        ended = _child()
        if ended is None:
            return
        is_short = ended.seconds < _SHORT_LIFE_S
        if ended.stopped_by and not ended.by_itself and ended.lost_its_head:
            raise SystemExit(128 + ended.stopped_by)
        if ended.lost_its_head and lives < _SHORT_LIVES:
            lives = lives + 1 if is_short else 0
            lost_at = time.monotonic()
            _wait_for_head(address, limit_s(), say)
        elif ended.is_refused and is_short and lost_at is not None and time.monotonic() - lost_at < limit_s():
            _pause(_REFUSED_S)  # not all nodes of the cluster have returned yet
        else:
            _exit_like(ended)


def _child() -> _Ended | None:
    """Fork; return None in the child, and, once the child has ended, return in the parent how it ended."""
    sys.stdout.flush()
    sys.stderr.flush()
    reading, writing = os.pipe()
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {*_PASSED_ON, signal.SIGCHLD})
    parent, began = os.getpid(), time.monotonic()
    child = os.fork()
    if child == 0:
        os.close(reading)
        _become_child(parent, writing)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        return None
    os.close(writing)
    try:
        status, stopped_by = _watch(child)
        by_itself = os.read(reading, 1) != b""
    finally:
        os.close(reading)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    return _Ended(os.waitstatus_to_exitcode(status), by_itself, stopped_by, time.monotonic() - began)


def _become_child(parent: int, writing: int) -> None:
    global _is_child  # noqa: PLW0603 -- a property of the process
    _is_child = True
    ctypes.CDLL(None).prctl(_DIES_WITH_ITS_PARENT, signal.SIGKILL)
    if os.getppid() != parent:  # the parent ended before prctl took effect
        os._exit(128 + signal.SIGKILL)
    # A scheduler that signals every process of a job reaches the child both directly and through the parent.
    signals.ignore_repeated(0.5)
    os.set_inheritable(writing, False)
    atexit.register(os.write, writing, b".")


def _watch(child: int) -> tuple[int, int]:
    """Pass signals on until a child has ended; return the child's status and the last signal."""
    stopped_by = 0
    while True:
        received = signal.sigwaitinfo({*_PASSED_ON, signal.SIGCHLD})
        if received.si_signo != signal.SIGCHLD:
            stopped_by = received.si_signo
            if received.si_code != _SENT_BY_THE_KERNEL:
                os.kill(child, received.si_signo)
        found, status = os.waitpid(child, os.WNOHANG)
        if found:
            return status, stopped_by


def _exit_like(ended: _Ended) -> None:
    if ended.code < 0:
        if ended.code != -signal.SIGKILL:
            signal.signal(-ended.code, signal.SIG_DFL)
        os.kill(os.getpid(), -ended.code)
    raise SystemExit(ended.code if ended.code != HEAD_LOST else 1)


def _wait_for_head(address: str, limit_s: float, say: Callable[[str], None]) -> None:
    """Wait until Ray answers at the address.

    Raises
    ------
    SystemExit: Ray did not answer within the time limit, or a signal ended the wait.
    """
    began = time.monotonic()
    with _default_signals():
        try:
            say(
                f"Ray's head at {address} is gone; settled runs and checkpoints are preserved. Waiting for up to "
                f"{limit_s / 3600:g} h until Ray answers there again (resources.outage_hours)"
            )
            while not _answers(address):
                if time.monotonic() - began >= limit_s:
                    say("Ray does not answer; start Ray again, then run the same command to resume the study")
                    raise SystemExit(1)
                time.sleep(_POLL_S)
        except KeyboardInterrupt:
            say("interrupted; to resume the study, run the same command again")
            raise SystemExit(130) from None
    say(f"Ray answers again after {time.monotonic() - began:.0f} s; resuming")


def _pause(seconds: float) -> None:
    with _default_signals():
        try:
            time.sleep(seconds)
        except KeyboardInterrupt:
            raise SystemExit(130) from None


class _default_signals:  # noqa: N801 -- a context manager
    """Within this context, SIGTERM exits and Ctrl-C raises KeyboardInterrupt."""

    def __enter__(self) -> None:
        self._before = signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))

    def __exit__(self, *_: object) -> None:
        signal.signal(signal.SIGTERM, self._before)


def _answers(address: str) -> bool:
    """Return whether a process is listening on an address; true without a port, because the child tries to connect."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdigit():
        return True
    try:
        socket.create_connection((host, int(port)), timeout=5.0).close()
    except OSError:
        return False
    return True
