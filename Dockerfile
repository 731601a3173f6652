# passbell: the daemon in a small image. Build: docker build -t passbell .
# Run: docker run --read-only --env-file passbell.env passbell
# Secrets come in as files (PASSBELL_PASSKIT_API_SECRET_FILE=/run/secrets/...) or as variables; none is in a layer.

FROM python:3.13-slim AS build
WORKDIR /src
COPY pyproject.toml requirements.lock README.md LICENSE ./
# The dependencies first: this layer is rebuilt only when they change. Versions are the locked ones.
RUN grep -oE '^[A-Za-z0-9._-]+==[^ ;\\]+' requirements.lock > /constraints.txt \
 && python -m venv /opt/passbell \
 && mkdir -p daemon/passbell sql \
 && printf '__version__ = "0"\n' > daemon/passbell/__init__.py \
 && /opt/passbell/bin/pip install --no-cache-dir --constraint /constraints.txt '.[web,fast]' \
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
# Nothing is ever written: the root file system may be read-only.
ENV PATH=/opt/passbell/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
USER 10001:10001
WORKDIR /
# The daemon ends what is in flight on SIGTERM; give it that long: docker stop --time 45.
STOPSIGNAL SIGTERM
ENTRYPOINT ["passbell"]
CMD ["run"]
