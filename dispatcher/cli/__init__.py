"""Command line: `dispatcher up | demo | worker | call | ask | functions | status | cancel | dead | flower | doctor`.

One file a command. What a command needs beyond its options is imported when it runs, so that `dispatcher --help` does
not wait for Celery.
"""
