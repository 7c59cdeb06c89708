"""A program that runs under the supervisor and whose session is chosen by name: `supervised.py HOW PORT FOLDER`."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

from ablations.commands import supervisor

how, port, folder = sys.argv[1:]
supervisor._REFUSED_S = 0.1
supervisor.enter(f"127.0.0.1:{port}", lambda: 60.0, lambda text: print(text, flush=True))
attempt = len(list(Path(folder).iterdir()))
(Path(folder) / f"{attempt}-{os.getpid()}").touch()
print(f"session {attempt}", flush=True)
match how:
    case "ends":
        sys.exit(3)
    case "fails":
        raise RuntimeError("a bug")
    case "waits":
        signal.signal(signal.SIGTERM, lambda *_: (print("told to end", flush=True), sys.exit(143)))
        try:
            time.sleep(60)
        except KeyboardInterrupt:
            print("interrupted", flush=True)
            sys.exit(130)
    case "loses its head":
        if attempt == 0:
            os._exit(1)  # as Ray does
        print("resumed", flush=True)
    case "notices":
        if attempt == 0:
            sys.exit(supervisor.HEAD_LOST)
        print("resumed", flush=True)
    case "is refused at first":
        match attempt:
            case 0:
                os._exit(1)
            case 1 | 2:
                sys.exit(2)
        print("resumed", flush=True)
    case "is refused":
        sys.exit(2)
    case "always loses it":
        os._exit(1)
    case "is killed":
        os.kill(os.getpid(), signal.SIGKILL)
