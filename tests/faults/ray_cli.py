"""Runs Ray's command line on the loopback interface."""

from __future__ import annotations

import ray._private.services as services
from ray.scripts.scripts import main

services.resolve_ip_for_localhost = lambda host: host
main()
