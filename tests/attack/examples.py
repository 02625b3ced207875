"""The same few examples each time: who looks for new ones raises the number."""

from hypothesis import HealthCheck, settings

__all__ = ["examples"]


def examples(number: int) -> settings:
    """A decorator of property tests."""
    return settings(
        derandomize=True,
        database=None,
        max_examples=number,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
    )
