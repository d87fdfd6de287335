"""The other queues: what each needs installed (`NAME.txt`), its functions and its producer (`with_NAME.py`).

Each program runs in an environment of its own, which has nothing of this project: only `producing` is shared.
"""
