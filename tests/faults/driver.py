"""Runs the command line on a cluster that uses only the loopback interface."""

from __future__ import annotations

import ray._private.services as services

from ablations.commands.app import main

services.resolve_ip_for_localhost = lambda host: host
main()
