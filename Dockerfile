FROM python:3.12-slim-bookworm AS wheels
WORKDIR /source
COPY pyproject.toml constraints.txt README.md LICENSE NOTICE ./
COPY dispatcher dispatcher
# Workers run functions, and producers choose them: of the extras only Flower's is wanted here. `embedding`, which the
# selector reads sentences with, would add some 170 MB.
RUN pip wheel --no-cache-dir --constraint constraints.txt --wheel-dir /wheels ".[dashboard]"

FROM python:3.12-slim-bookworm
RUN --mount=type=bind,from=wheels,source=/wheels,target=/wheels \
    pip install --no-cache-dir --no-index --find-links /wheels "function-dispatcher[dashboard]" \
    && useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin dispatcher
WORKDIR /app
COPY tasks tasks
COPY workers workers
# Lines reach the log as they are written; what is kept on disk (health files) lies where this user may write.
ENV PYTHONUNBUFFERED=1 DISPATCHER_STATE_DIR=/tmp/dispatcher
USER 10001
CMD ["python", "-m", "dispatcher.node", "workers.app", "--pool", "prefork", "--loglevel", "INFO"]
