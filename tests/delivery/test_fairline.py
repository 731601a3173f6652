"""The fair queue in which chunks wait for a lane and requests for a slot."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from passbell.delivery.fairline import FairLine


def line_of(*items: str) -> FairLine[str]:
    """Items such as "a1", each under its letter."""
    line = FairLine[str]()
    for item in items:
        line.put(item[0], item)
    return line


def emptied(line: FairLine[str]) -> list[str]:
    """The items in the order in which they are served."""
    return [line.pop() for _ in range(len(line))]


def test_keys_take_turns_and_the_items_of_one_keep_their_order() -> None:
    """A program that comes later does not wait for all passes of an earlier one; each program keeps its order."""
    line = line_of("a1", "a2", "a3", "b1", "c1", "c2")
    assert emptied(line) == ["a1", "b1", "c1", "a2", "c2", "a3"]
    assert not line


def test_a_key_that_comes_back_is_last() -> None:
    """A program that comes back with new chunks is served last."""
    line = line_of("a1", "a2", "b1", "b2")
    assert line.pop() == "a1"
    line.put("c", "c1")
    assert emptied(line) == ["b1", "a2", "c1", "b2"]


def test_what_is_put_first_is_served_next() -> None:
    """A request that could not use its slot is served next, before all programs."""
    line = line_of("a1", "a2", "b1")
    line.put("b", "b0", first=True)
    line.put("c", "c0", first=True)
    assert emptied(line) == ["c0", "b0", "a1", "b1", "a2"]


def test_an_item_that_stays_while_its_key_gives_way() -> None:
    """A chunk is in line once for all its passes: its program takes turns, pass after pass."""
    line = line_of("a1", "a2", "b1")
    served = []
    for _ in range(4):
        served.append(line.head())
        line.rotate()
    assert served == ["a1", "b1", "a1", "b1"]
    assert line.remove_head() == "a1"
    assert line.head() == "a2", "the next chunk of the same program has the turn"


def test_what_is_not_wanted_any_more_leaves() -> None:
    """Chunks of a cancelled campaign leave the line, and the others keep their places."""
    line = line_of("a1", "a2", "b1", "c1", "c2")
    assert line.drop(lambda item: item in {"a1", "b1", "c2"}) == ["a1", "b1", "c2"]
    assert list(line) == ["a2", "c1"]
    assert line.drop(lambda _: False) == []
    assert emptied(line) == ["a2", "c1"]


@pytest.mark.parametrize("seed", range(20))
def test_no_key_is_served_twice_while_another_waits(seed: int) -> None:
    """Between two items of a program, every other waiting program is served once."""
    dice = random.Random(seed)  # noqa: S311 - repeatable
    line, number, served = FairLine[tuple[int, int]](), Counter[int](), Counter[int]()
    unserved: dict[int, set[int]] = {}
    for _ in range(500):
        key = dice.randrange(5)
        if dice.random() < 0.55 or not line:
            number[key] += 1
            line.put(key, (key, number[key]))
            continue
        key, nth = line.pop()
        served[key] += 1
        assert nth == served[key], "one key's items keep their order"
        assert not unserved.get(key), "these waited when the key was served last, and still do"
        for others in unserved.values():
            others.discard(key)
        unserved[key] = {one for one, _ in line} - {key}
    assert served.total() + len(line) == number.total()
