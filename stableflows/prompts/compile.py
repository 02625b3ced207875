"""The meaning of dynamic prompts: every name resolved, so that what is left only has to be chosen.

A missing wildcard, one that contains itself and a variable that nobody set are found here, before
anything is drawn.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import count

from stableflows.errors import InputError
from stableflows.prompts import syntax, tree
from stableflows.prompts.grammar import TemplateError, has_syntax
from stableflows.prompts.place import Finder
from stableflows.prompts.wildcards import Value, Wildcards

__all__ = ["Compiler"]

MAX_NODES = 50_000
"""Nodes of one prompt, wildcards with syntax in their values included."""
MAX_PATHS = 1_000
"""Names that one wildcard with choices in its name can have."""

OPEN_MARKS = ("__", "${", "[[")
"""A wildcard without these in its values is the same wherever it stands: nothing in it has a name."""


@dataclass(eq=False)
class _Variable:
    """What a variable stands for, in the scope in which it was set.

    Attributes:
        key: where its text is, if it is drawn once.
    """

    value: syntax.Syntax
    scope: _Scope
    key: int | None = None
    open: bool = False
    """It is being compiled: a second time would be without end."""


@dataclass(frozen=True)
class _Scope:
    """Where a piece of a prompt stands.

    Attributes:
        inside: the wildcards around it, the outermost first.
        numbered: nothing is drawn at random where outcomes are numbered, whatever `~` and `@` say: on it
            depends which wildcard is meant.
        inlined: slots and variables that are drawn once are chosen where they stand, so that every text
            can be listed.
    """

    variables: Mapping[str, _Variable] = field(default_factory=dict)
    inside: tuple[str, ...] = ()
    numbered: bool = False
    inlined: bool = False


class Compiler:
    """Compiles the prompts of one entry.

    Attributes:
        slots: the slots that were met, each once, in their order.
    """

    def __init__(self, wildcards: Wildcards, slots: Mapping[str, Sequence[str]], places: Finder) -> None:
        """Args: slots: the values of every slot, by its name; places: where a piece of a prompt stands."""
        self.slots: dict[str, None] = {}
        self._wildcards = wildcards
        self._values_of_slots = slots
        self._places = places
        self._keys = count()
        self._nodes = 0
        self._compiled: dict[tuple[object, ...], tree.Node] = {}
        self._kept: list[_Scope] = []

    def texts(self, texts: Sequence[syntax.Syntax], separator: str) -> tree.Node:
        """Texts that are drawn together: a variable set in one is known in all.

        Raises:
            InputError: a name that there is not, a recursion, or more than can be handled.
        """
        parts: list[syntax.Syntax] = []
        for index, text in enumerate(texts):
            parts += [syntax.Text(separator)] if index else []
            parts += text.parts if isinstance(text, syntax.Sequence) else [text]
        numbers = count(1)
        return self._guarded(lambda: self._sequence(parts, _Scope(), name=lambda: f"variant{next(numbers)}"))

    def slot_value(self, text: str) -> tree.Node:
        """A value of a slot, which may be a dynamic prompt itself.

        Raises:
            InputError: as for `texts`; or it has a slot in it.
        """
        return self._guarded(lambda: self._template(text, _Scope(), f"the value {text!r} of a slot"))

    def _guarded(self, compiled: Callable[[], tree.Node]) -> tree.Node:
        try:
            return compiled()
        except (tree.TooLarge, TemplateError) as error:
            raise InputError(f"{error}.", where=self._places.entry) from None
        except RecursionError:
            raise InputError("is nested too deeply.", where=self._places.entry) from None

    def _template(self, text: str, scope: _Scope, of: str) -> tree.Node:
        """Text that comes from elsewhere than a prompt."""
        if not has_syntax(text):
            return tree.Literal(text)
        try:
            read = self._wildcards.parsed(text)
        except TemplateError as error:
            raise InputError(f"{of}: {error}.", where=self._places.entry) from None
        return self._node(read, scope)

    def _node(self, part: syntax.Syntax, scope: _Scope) -> tree.Node:  # noqa: PLR0911 (a kind each)
        self._nodes += 1
        if self._nodes > MAX_NODES:
            raise tree.TooLarge(f"has more than {MAX_NODES:,} parts, with all wildcards in it")
        match part:
            case syntax.Text():
                return tree.Literal(part.text)
            case syntax.Slot():
                return self._slot(part, scope)
            case syntax.Pick():
                return self._pick(part, scope)
            case syntax.Wildcard():
                return self._wildcard(part, scope)
            case syntax.Access():
                return self._access(part, scope)
            case syntax.Assign():
                return self._sequence([part], scope)
            case syntax.Wrap():
                return tree.Wrapped(self._node(part.wrapper, scope), self._node(part.inner, scope))
            case syntax.Sequence():
                return self._sequence(part.parts, scope)

    def _sequence(
        self, parts: Sequence[syntax.Syntax], scope: _Scope, name: Callable[[], str] | None = None
    ) -> tree.Node:
        """Parts one after another, in which the variables hold that any of them sets.

        Args:
            name: gives names to the variants among them.
        """
        assigned = [part for part in parts if isinstance(part, syntax.Assign)]
        variables = dict(scope.variables)
        inner = replace(scope, variables=variables)
        immediate: list[tuple[str, _Variable, tree.Node]] = []
        for later in (one for one in assigned if not one.immediate):
            if later.overwrite or later.name not in variables:
                variables[later.name] = _Variable(later.value, inner)
        for now in (one for one in assigned if one.immediate):
            if not now.overwrite and now.name in variables:
                continue
            # Its own value sees what stood under its name before.
            before = replace(scope, variables=dict(variables))
            drawn = _Variable(now.value, before, key=None if scope.inlined else next(self._keys))
            immediate.append((now.name, drawn, self._node(now.value, before)))
            variables[now.name] = drawn
        self._kept.append(inner)
        nodes = [
            tree.Named(name(), self._node(part, inner))
            if name and isinstance(part, syntax.Pick)
            else self._node(part, inner)
            for part in parts
            if not isinstance(part, syntax.Assign)
        ]
        body: tree.Node = nodes[0] if len(nodes) == 1 else tree.Join(nodes)
        for called, drawn, value in reversed(immediate):
            if drawn.key is not None:
                # If names depend on it, its values are tried by number, so none may be random.
                by_number = replace(drawn.scope, numbered=True)
                node = self._node(drawn.value, by_number) if drawn.key in body.needs else value
                body = tree.Bound(drawn.key, tree.Named(called, node), body)
        return body

    def _slot(self, part: syntax.Slot, scope: _Scope) -> tree.Node:
        if part.name not in self._values_of_slots:
            advice = "define it under `matrix`; to weaken a word, write (word:0.83)"
            raise InputError(
                f"'[[{part.name}]]' is a slot that no matrix defines; {advice}.",
                where=self._places.of(f"[[{part.name}"),
                allowed=list(self._values_of_slots),
                value=part.name,
            )
        self.slots[part.name] = None
        if scope.inlined:
            values = [self.slot_value(value) for value in self._values_of_slots[part.name]]
            return tree.Choice([(value, 1.0) for value in values])
        return tree.Use(f"[[{part.name}]]")

    def _pick(self, part: syntax.Pick, scope: _Scope) -> tree.Node:
        method = None if scope.numbered else part.method
        options = part.options
        if len(options) == 1 and (only := _alone(options[0].value)):
            # {2$$__colours__}: picks from the wildcard's values.
            return self._wildcard(only, scope, part)
        merged: dict[syntax.Text | int, tuple[tree.Node, float]] = {}
        for index, option in enumerate(options):
            same = option.value if isinstance(option.value, syntax.Text) else index
            node, weight = merged.get(same) or (self._node(option.value, scope), 0.0)
            merged[same] = (node, weight + option.weight)
        return tree.Choice(list(merged.values()), part.low, part.high, part.separator, method)

    def _access(self, part: syntax.Access, scope: _Scope) -> tree.Node:
        variable = scope.variables.get(part.name)
        if variable is None:
            if part.default is None:
                raise InputError(
                    f"'${{{part.name}}}' is a variable that nothing sets; write ${{{part.name}=...}} "
                    f"before it, or ${{{part.name}:...}} for a default.",
                    where=self._places.of(f"${{{part.name}"),
                    allowed=list(scope.variables),
                    value=part.name,
                )
            return tree.Named(part.name, self._node(part.default, scope))
        if variable.key is not None and not scope.inlined:
            return tree.Use(variable.key)
        if variable.open:
            raise InputError(f"the variable ${{{part.name}}} contains itself.", where=self._places.entry)
        variable.open = True
        try:
            inner = replace(
                variable.scope, inside=scope.inside, numbered=scope.numbered, inlined=scope.inlined
            )
            return tree.Named(part.name, self._node(variable.value, inner))
        finally:
            variable.open = False

    def _wildcard(self, part: syntax.Wildcard, scope: _Scope, pick: syntax.Pick | None = None) -> tree.Node:
        variables = dict(scope.variables)
        for name, value in part.variables.items():
            variables[name] = _Variable(value, scope)
        inner = replace(scope, variables=variables) if part.variables else scope
        self._kept.append(inner)
        method = None if scope.numbered else (pick and pick.method) or part.method
        picking = replace(pick or syntax.Pick(()), options=(), method=method)
        if isinstance(part.path, syntax.Text):
            return self._named_wildcard(part.path.text.strip(), inner, picking)
        possible = self._node(part.path, replace(scope, numbered=True, inlined=True))
        state = tree.State(random.Random(0), combining=True)  # noqa: S311 (nothing is drawn)
        if possible.count(state) > MAX_PATHS:
            raise tree.TooLarge(f"has a wildcard with more than {MAX_PATHS:,} possible names")
        names = {possible.write(number, state).strip() for number in range(possible.count(state))}
        table = {name: self._named_wildcard(name, inner, picking) for name in sorted(names)}
        return tree.ByPath(self._node(part.path, replace(scope, numbered=True)), table)

    def _named_wildcard(self, name: str, scope: _Scope, pick: syntax.Pick) -> tree.Node:
        closed = (name, scope.numbered, pick)
        if closed in self._wildcards.closed:
            return self._wildcards.closed[closed]
        scoped = sorted((each, id(variable)) for each, variable in scope.variables.items())
        known = (name, scope.numbered, scope.inlined, pick, *scoped)
        if known not in self._compiled:
            options: dict[str, tuple[tree.Node, float]] = {}
            for each, value in self._values(name, scope):
                inner = replace(scope, inside=(*scope.inside, each))
                node, weight = options.get(value.text) or (
                    self._template(value.text, inner, f"the value {value.text!r} of __{each}__"),
                    0.0,
                )
                options[value.text] = (node, weight + value.weight)
            self._nodes += len(options) // 10
            choice = tree.Choice(list(options.values()), pick.low, pick.high, pick.separator, pick.method)
            self._compiled[known] = tree.Named(name, choice)
            if not any(mark in text for text in options for mark in OPEN_MARKS):
                self._wildcards.closed[closed] = self._compiled[known]
        return self._compiled[known]

    def _values(self, name: str, scope: _Scope) -> Iterator[tuple[str, Value]]:
        """The values of every wildcard that a name or pattern stands for, each with the wildcard's own name.

        Raises:
            InputError: there is none, or it is one that this stands in.
        """
        found = self._wildcards.find(name)
        if not found:
            raise self._wildcards.missing(name, self._places.of(name))
        for each in found:
            if each in scope.inside:
                cycle = " -> ".join(f"__{one}__" for one in (*scope.inside, each))
                raise InputError(f"a wildcard contains itself: {cycle}.", where=self._places.entry)
            for value in self._wildcards.values(each):
                yield each, value


def _alone(value: syntax.Syntax) -> syntax.Wildcard | None:
    """The wildcard that `value` is, but for blanks around it."""
    parts = value.parts if isinstance(value, syntax.Sequence) else (value,)
    said = [part for part in parts if not (isinstance(part, syntax.Text) and not part.text.strip())]
    return said[0] if len(said) == 1 and isinstance(said[0], syntax.Wildcard) else None
