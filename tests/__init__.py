"""The tests; run by trial. Hypothesis is told once what holds for all of them."""

from hypothesis import HealthCheck, settings

# How long it takes to make an input says nothing about it on a machine that does other things, too.
settings.register_profile("stalwart", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("stalwart")
