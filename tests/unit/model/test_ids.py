"""Ids are random UUIDs, and no two are the same, in whatever thread or process they were made."""

import os
import uuid
from concurrent.futures import ThreadPoolExecutor

from dispatcher.model.ids import BLOCK, new_id


def test_an_id_is_a_random_uuid() -> None:
    for _ in range(4 * BLOCK):
        text = new_id()
        read = uuid.UUID(text)
        assert (str(read), read.version, read.variant) == (text, 4, uuid.RFC_4122)


def test_no_two_are_the_same_also_in_many_threads() -> None:
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: new_id(), range(40 * BLOCK)))
    assert len(set(found)) == len(found)


def test_a_forked_process_makes_ids_of_its_own() -> None:
    new_id()  # so that there is a block
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writer, "\n".join(new_id() for _ in range(BLOCK)).encode())
        os._exit(0)
    os.waitpid(child, 0)
    os.close(writer)
    with os.fdopen(reader) as answer:
        theirs = answer.read().split()
    ours = [new_id() for _ in range(BLOCK)]
    assert len(theirs) == BLOCK
    assert not set(theirs) & set(ours)
