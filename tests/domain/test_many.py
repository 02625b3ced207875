"""Models of which there are very many share what is the same in them, and nobody can tell."""

from pydantic import ConfigDict

from stableflows.config.base import Many, Strict
from stableflows.results import Record
from stableflows.stages import StageExecution


class Point(Many):
    model_config = ConfigDict(frozen=True)

    x: int = 0
    y: int = 0


def test_those_that_were_given_the_same_fields_share_their_names() -> None:
    one, two, other = Point(x=1), Point.model_validate({"x": 2}), Point(y=1)
    assert one.model_fields_set is two.model_fields_set
    assert (one.model_fields_set, other.model_fields_set, Point().model_fields_set) == ({"x"}, {"y"}, set())
    assert one == Point(x=1)
    assert Point(x=0).model_dump(exclude_unset=True) == {"x": 0}


def test_a_copy_with_more_fields_changes_no_other() -> None:
    one, two = Point(x=1), Point(x=2)
    assert one.model_copy(update={"y": 3}).model_fields_set == {"x", "y"}
    assert two.model_fields_set == {"x"}


def test_all_of_them_are_frozen() -> None:
    """Else setting a field of one would say of the others that it was given."""

    def below(model: type[Many]) -> list[type[Many]]:
        return [model, *(deeper for one in model.__subclasses__() for deeper in below(one))]

    models = [model for model in below(Many)[1:] if model.__module__.startswith("stableflows.")]
    assert {Strict, Record, StageExecution} <= set(models)
    assert [model for model in models if not model.model_config.get("frozen")] == []
