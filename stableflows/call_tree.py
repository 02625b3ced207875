"""A job's calls as the schedule sees them: what continues what, what each needs, and which are alike."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from stableflows.calls import StageCall
from stableflows.load_search import Kind
from stableflows.loads import Route, Weights

__all__ = ["CallKinds", "CallTree"]


class CallTree:
    """Calls by their number in entry order: what continues which, and what each needs."""

    def __init__(
        self, calls: Sequence[StageCall], routes: Mapping[tuple[int, int], Route], done: Collection[str]
    ) -> None:
        self.calls = calls
        numbers = {call.call_id: number for number, call in enumerate(calls)}
        self.before = [numbers[call.after] if call.after else None for call in calls]
        self.then: list[list[int]] = [[] for _ in calls]
        self.routes: list[Route] = []
        self.done: list[int] = []
        """Calls that need no request, nor does one before them."""
        finished: set[int] = set()
        for number, (call, before) in enumerate(zip(calls, self.before, strict=True)):
            if before is not None:
                self.then[before].append(number)
            is_done = call.call_id in done
            self.routes.append(() if is_done else routes[call.entry, call.stage])
            if is_done and (before is None or before in finished):
                finished.add(number)
                self.done.append(number)
        self.first = [
            number
            for number, before in enumerate(self.before)
            if number not in finished and (before is None or before in finished)
        ]


class CallKinds:
    """The kinds of the calls of a tree (`load_search.Kind`); calls without weights have none."""

    def __init__(self, tree: CallTree) -> None:
        self.kinds: list[Kind] = []
        self._numbers: dict[tuple[Weights, Weights, tuple[int, ...]], int] = {}
        self.of_call: list[int | None] = [None] * len(tree.calls)
        self._next: list[tuple[int, ...]] = [()] * len(tree.calls)
        """Of each call, the kinds of the calls with weights that follow it next."""
        for number in range(len(tree.calls) - 1, -1, -1):
            route = tree.routes[number]
            then = tuple(kind for child in tree.then[number] for kind in self.met_at(child))
            if route:
                self.of_call[number] = self._kind(route, then)
            else:
                self._next[number] = then

    def met_at(self, call: int) -> tuple[int, ...]:
        """The kinds that wait when this call is ready."""
        kind = self.of_call[call]
        return self._next[call] if kind is None else (kind,)

    def _kind(self, route: Route, then: tuple[int, ...]) -> int:
        enter, leave = route[0], route[-1]
        children = tuple(sorted(grandchild for child in then for grandchild in self._merged(leave, child)))
        if not any(self.kinds[child].counted for child in children):
            children = tuple(dict.fromkeys(children))
        key = (enter, leave, children)
        if key not in self._numbers:
            height = 1 + max((self.kinds[child].height for child in children), default=0)
            counted = enter != leave or any(self.kinds[child].counted for child in children)
            self._numbers[key] = len(self.kinds)
            self.kinds.append(Kind(enter, leave, children, height, counted))
        return self._numbers[key]

    def _merged(self, leave: Weights, child: int) -> tuple[int, ...]:
        """A call that only goes on with what is there is one with the call before it."""
        kind = self.kinds[child]
        return kind.then if kind.enter == kind.leave == leave else (child,)
