"""What a producer hears: one outcome in a message, or several."""

from types import SimpleNamespace
from typing import Any, cast

import pytest

from dispatcher.transport.announcements import Announcement, Announcements, read_announcements
from dispatcher.transport.keys import Keys


def test_one_is_its_id_and_its_outcome() -> None:
    assert read_announcements(b'job-1\n{"result":"a\\nb"}') == [Announcement("job-1", b'{"result":"a\\nb"}')]
    assert read_announcements(b"job-1\n") == [Announcement("job-1", b"")], "too large: to be read from the store"


def test_several_are_told_apart_by_their_lengths_whatever_they_hold() -> None:
    assert read_announcements(b"\njob-1 3\na\nbjob-2 0\njob-3 2\n{}") == [
        Announcement("job-1", b"a\nb"),
        Announcement("job-2", b""),
        Announcement("job-3", b"{}"),
    ]


@pytest.mark.parametrize("data", [b"\n", b"\njob-1", b"\njob-1 x\n{}", b"\njob-1 -2\n{}"])
def test_what_is_not_ours_says_nothing(data: bytes) -> None:
    assert read_announcements(data) == []


class Rig:
    """A subscription that stands, and what was told at once."""

    def __init__(self) -> None:
        client = SimpleNamespace(connection_pool=None)
        self.announcements = Announcements(cast("Any", client), Keys("test"), "producer-1")
        self.wire = SimpleNamespace(heard_at=1.0)
        self.announcements._wire = cast("Any", self.wire)
        self.told: list[Announcement] = []
        self.announcements.on_single = self.told.append

    def hear(self, said: bytes, *, at: float) -> None:
        self.wire.heard_at = at
        self.announcements._hear([b"message", b"channel", said])


ONE, TWO = Announcement("job-1", b"{}"), Announcement("job-2", b"")


async def test_one_that_comes_alone_is_told_as_it_is_heard() -> None:
    rig = Rig()
    rig.hear(b"job-1\n{}", at=2.0)
    rig.hear(b"job-2\n", at=3.0)
    assert rig.told == [ONE, TWO]
    rig.hear(b"\njob-1 2\n{}", at=4.0)
    assert await rig.announcements.next() == [ONE], "only what was not told"


async def test_of_many_that_come_at_once_only_the_first_is_told_so_that_the_event_loop_is_not_held() -> None:
    rig = Rig()
    for _ in range(3):
        rig.hear(b"job-1\n{}", at=2.0)
    assert rig.told == [ONE]
    assert [await rig.announcements.next() for _ in range(2)] == [[ONE], [ONE]]


async def test_none_overtakes_those_that_wait() -> None:
    rig = Rig()
    rig.hear(b"\njob-1 2\n{}", at=2.0)
    rig.hear(b"job-2\n", at=3.0)
    assert rig.told == []
    assert [await rig.announcements.next() for _ in range(2)] == [[ONE], [TWO]]


async def test_without_anybody_to_tell_all_wait_to_be_asked_for() -> None:
    rig = Rig()
    rig.announcements.on_single = None
    rig.hear(b"job-1\n{}", at=2.0)
    assert await rig.announcements.next() == [ONE]
