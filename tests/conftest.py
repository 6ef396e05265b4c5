"""What every test shares: repeatable hypothesis runs, short enough for two slow cores."""

from __future__ import annotations

import os
import signal
from pathlib import Path

# Two test processes share two cores; torch's own threads would only wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Without a GPU its kernels are run by Triton's interpreter, which has to be asked for before they are imported.
if not Path("/dev/nvidiactl").exists():
    os.environ.setdefault("TRITON_INTERPRET", "1")

# Where the tests run in the background of a script, Ctrl-C is ignored, and so it would be by programs that they start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

from hypothesis import HealthCheck, settings

from .servers.fixtures import home, hub, logged_in, other_web, web  # noqa: F401 - fixtures

# Derandomised, so that a red run is red again; `--hypothesis-profile=search` looks further.
settings.register_profile(
    "default", max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("search", max_examples=2000, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("default")
