"""Whether enough of the right people said yes. One person counts once, for one need: a matching, not a sum."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from iam.approval.stages import Need, Stage


def unmet(stage: Stage, said_yes: Mapping[str, Collection[Need]]) -> list[Need]:
    """What a stage still waits for, one entry a missing yes; ``said_yes`` is for what each person may count.

    The assignment that leaves the least open is taken: somebody who is in two groups counts for the one that needs them.
    """
    slots = [need for need in stage for _ in range(need.count)]
    filled = _matching([[person for person, needs in said_yes.items() if need in needs] for need in slots])
    return [need for position, need in enumerate(slots) if position not in filled]


def helpful(stage: Stage, said_yes: Mapping[str, Collection[Need]]) -> list[Need]:
    """The needs for which one more yes would bring the stage further, also by freeing somebody for another need."""
    still = len(unmet(stage, said_yes))
    return [need for need in stage if len(unmet(stage, {**said_yes, "": [need]})) < still]


def reachable(
    stage: Stage, later: Sequence[Stage], said_yes: Mapping[str, Collection[Need]], fresh: Mapping[Need, Collection[str]]
) -> bool:
    """Whether this stage and all later ones can still be met: by those who said yes in it, and by people who have not answered yet."""
    now = [[*(person for person, needs in said_yes.items() if need in needs), *fresh[need]] for need in stage for _ in range(need.count)]
    then = [list(fresh[need]) for one in later for need in one for _ in range(need.count)]
    return len(_matching([*now, *then])) == len(now) + len(then)


def unsatisfiable(stages: Sequence[Stage], candidates: Mapping[Need, Collection[str]]) -> list[Need]:
    """The needs for which there are not enough different people over all stages; a need that is not in the mapping is not judged."""
    slots = [need for stage in stages for need in stage if need in candidates for _ in range(need.count)]
    filled = _matching([list(candidates[need]) for need in slots])
    return list(dict.fromkeys(need for position, need in enumerate(slots) if position not in filled))


def _matching(slots: Sequence[Sequence[str]]) -> dict[int, str]:
    """As many slots as possible, each with a person of its own (Kuhn's augmenting paths)."""
    taken: dict[str, int] = {}

    def place(slot: int, tried: set[str]) -> bool:
        for person in slots[slot]:
            if person in tried:
                continue
            tried.add(person)
            if person not in taken or place(taken[person], tried):
                taken[person] = slot
                return True
        return False

    for slot in range(len(slots)):
        place(slot, set())
    return {slot: person for person, slot in taken.items()}
