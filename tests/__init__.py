"""The tests; run by trial. Hypothesis is told once what holds for all of them."""

import os

from hypothesis import HealthCheck, settings

# The same tree gives the same result: an input that nobody has seen yet is looked for by `make fuzz`, not by whoever
# changes something else. How long an input takes to make says nothing on a machine that does other things, too.
settings.register_profile(
    "stalwart",
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    derandomize="STALWART_FUZZ" not in os.environ,
)
settings.load_profile("stalwart")
