"""What a producer hears: one outcome in a message, or several."""

import pytest

from dispatcher.transport.announcements import Announcement, read_announcements


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
