"""`huey_consumer` with the standard library made cooperative first, as greenlets need it and Huey's guide says."""

from importlib import import_module

from gevent import monkey


def main() -> None:
    """Patch, then import everything else."""
    monkey.patch_all()
    import_module("huey.bin.huey_consumer").consumer_main()


if __name__ == "__main__":
    main()
