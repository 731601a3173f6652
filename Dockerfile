# passbell: the daemon in a small image. Build: docker build -t passbell .
# Run: docker run --read-only --tmpfs /tmp --env-file passbell.env passbell [run | web | migrate | check]
# With PostgreSQL, sandbox and page around it: compose.yaml.
# Secrets come in as files (PASSBELL_PASSKIT_API_SECRET_FILE=/run/secrets/...) or as variables; none is in a layer.

FROM python:3.13-slim AS build
WORKDIR /src
COPY pyproject.toml requirements.lock README.md LICENSE ./
# The dependencies first: this layer is rebuilt only when they change. Versions are the locked ones.
RUN grep -oE '^[A-Za-z0-9._-]+==[^ ;\\]+' requirements.lock > /constraints.txt \
 && python -m venv /opt/passbell \
 && mkdir -p daemon/passbell sql \
 && printf '__version__ = "0"\n' > daemon/passbell/__init__.py \
 && /opt/passbell/bin/pip install --no-cache-dir --constraint /constraints.txt '.[web]' \
 && /opt/passbell/bin/pip uninstall --yes passbell
COPY daemon daemon
COPY sql sql
RUN /opt/passbell/bin/pip install --no-cache-dir --no-deps . \
 && /opt/passbell/bin/pip uninstall --yes pip

FROM python:3.13-slim
LABEL org.opencontainers.image.title="passbell" \
      org.opencontainers.image.description="Rings the lock screen of wallet passes" \
      org.opencontainers.image.licenses="MIT"
# A fixed number: volumes and Kubernetes' runAsUser refer to it.
RUN useradd --uid 10001 --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin passbell
COPY --from=build /opt/passbell /opt/passbell
# Only lists are written, to /tmp while they are read, so the root file system may be read-only.
ENV PATH=/opt/passbell/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
USER 10001:10001
WORKDIR /
# On SIGTERM the daemon finishes the requests that are in flight. Give it time for that: docker stop --time 45.
STOPSIGNAL SIGTERM
# Of `run`; the page has its own /ready on port 8080 (see compose.yaml).
HEALTHCHECK --interval=15s --timeout=5s --start-period=30s \
  CMD ["python", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:9464/ready', timeout=4)"]
ENTRYPOINT ["passbell"]
CMD ["run"]
