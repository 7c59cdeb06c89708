"""Read Parquet files with pandas and print ``{}`` and the peak resident memory of the process in MiB."""

import sys
from pathlib import Path

import pandas as pd

frames = [pd.read_parquet(path) for path in sys.argv[1:]]
lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
print("{}", next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM")))
