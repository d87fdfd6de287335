"""What a call costs, here and with other queues, on one server: `make bench`, and where its time goes: `make profile`.

Every contestant runs in its documented production form with two worker processes, stores its results and reads them.
"""
