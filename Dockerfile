# Headgate's image: `docker build -t headgate:0.1.0 .`
#
# BASE is any image with Python 3.11 or later as `python3`, the same for both stages: of the first stage only a folder is
# kept, and that has to meet the same interpreter. Nothing is compiled: every package is a wheel whose hash is in a lock.
ARG BASE=docker.io/library/python:3.13-slim

FROM ${BASE} AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ONLY_BINARY=:all: SOURCE_DATE_EPOCH=0
WORKDIR /src
COPY requirements-build.lock requirements-operator.lock ./
RUN python3 -m venv /build && /build/bin/python -m pip install --require-hashes -r requirements-build.lock
RUN python3 -m venv --without-pip /opt/headgate
RUN /build/bin/python -m pip --python /opt/headgate/bin/python3 install --require-hashes -r requirements-operator.lock
COPY pyproject.toml README.md LICENSE ./
COPY operator operator
RUN /build/bin/python -m pip wheel --no-build-isolation --no-deps --wheel-dir /wheels .
RUN /build/bin/python -m pip --python /opt/headgate/bin/python3 install --no-deps --no-index --find-links /wheels headgate

FROM ${BASE}
LABEL org.opencontainers.image.title="Headgate" org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /opt/headgate /opt/headgate
ENV PATH=/opt/headgate/bin:/usr/local/bin:/usr/bin:/bin PYTHONUNBUFFERED=1 PYTHONSAFEPATH=1
WORKDIR /tmp
USER 65532:65532
EXPOSE 18000 8081
ENTRYPOINT ["python3", "-m", "headgate"]
CMD ["operator"]
