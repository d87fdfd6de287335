"""Command line: `dispatcher up | demo | worker | call | ask | functions | explain | evaluate | status | cancel | …`.

One file a command. What a command needs beyond its options is imported when it runs, so that `dispatcher --help` does
not wait for Celery.
"""
