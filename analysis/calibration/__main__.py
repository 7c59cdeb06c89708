"""``python -m analysis.calibration docs/calibration.md`` writes the page."""

import sys

from analysis.calibration import main

sys.exit(main(sys.argv[1:]))
