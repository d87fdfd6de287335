"""What holds for every test."""

import os

# Tests start their own servers: settings of whoever runs them must not send them anywhere else.
for _name in [name for name in os.environ if name.startswith(("CELERY_", "DISPATCHER_", "FLOWER_"))]:
    del os.environ[_name]
