"""All code that uses Ray: computing runs with Ray Tune, and support for Ray clusters."""

from __future__ import annotations

import logging
import warnings

# In a notebook, Ray requests ipywidgets when it is imported, but this package shows no widgets.
logging.getLogger("ray.widgets.util").setLevel(logging.WARNING)
warnings.filterwarnings("ignore", message="IProgress not found", module="tqdm")
