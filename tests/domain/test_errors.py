"""What several errors at once say."""

from pathlib import Path

from stableflows.errors import InputError, InvalidInputs, Where

SAMPLERS = ("Euler", "Heun")


def misspelt(line: int, value: str = "Eulr") -> InputError:
    where = Where(Path("a.yaml"), line, "sampler")
    return InputError(f"there is no sampler {value!r}.", where=where, allowed=SAMPLERS, value=value)


def test_the_same_in_many_places_is_told_a_few_times() -> None:
    errors = [misspelt(1), misspelt(2, "Huen"), *map(misspelt, range(3, 1000)), misspelt(1000, "Huen")]
    error = InvalidInputs(errors)
    assert str(error).splitlines() == [
        "a.yaml:1: sampler: there is no sampler 'Eulr'. Did you mean 'Euler'?",
        "a.yaml:2: sampler: there is no sampler 'Huen'. Did you mean 'Heun'?",
        "a.yaml:3: sampler: there is no sampler 'Eulr'. Did you mean 'Euler'?",
        "a.yaml:4: sampler: there is no sampler 'Eulr'. Did you mean 'Euler'?",
        "  and the same in 995 more places",
        "a.yaml:1000: sampler: there is no sampler 'Huen'. Did you mean 'Heun'?",
    ]
    assert len(error.errors) == 1000


def test_one_more_is_told_too() -> None:
    lines = str(InvalidInputs([misspelt(line) for line in range(1, 5)])).splitlines()
    assert [line[:8] for line in lines] == ["a.yaml:1", "a.yaml:2", "a.yaml:3", "a.yaml:4"]
