# One image for all: the operator, the command line, and the nodes of a Ray cluster with vLLM.
#
#   docker build --build-arg VARIANT=cpu -t matrix:0.1.0-cpu .
#   docker build --build-arg VARIANT=gpu -t matrix:0.1.0-gpu .
#
# The base is pinned by its version. To pin it by content, hand over the digest that its registry shows for that tag
# (docker buildx imagetools inspect python:3.11.13-slim-bookworm): --build-arg BASE=python@sha256:...
# Python packages are pinned by their hashes in requirements/; Debian's are those of the day of the build.
#
# KubeRay needs bash and ray of an image, and replaces its command. Any uid can run it: nothing outside of /tmp, /dev/shm and the home is
# written to, and pods bring a home of their own.
ARG BASE=docker.io/library/python:3.11.13-slim-bookworm

FROM ${BASE} AS environment
ARG VARIANT=cpu
WORKDIR /src
COPY requirements/bootstrap.txt requirements/
RUN python3.11 -m venv /opt/bootstrap \
    && /opt/bootstrap/bin/python -m pip install --no-cache-dir --require-hashes -r requirements/bootstrap.txt \
    && python3.11 -m venv --without-pip /opt/matrix
COPY requirements/${VARIANT}.txt requirements/
RUN /opt/bootstrap/bin/uv pip install --python /opt/matrix/bin/python --no-cache --no-deps --compile-bytecode --require-hashes \
        -r requirements/${VARIANT}.txt
COPY . .
RUN /opt/bootstrap/bin/uv pip install --python /opt/matrix/bin/python --no-cache --no-deps --compile-bytecode --no-build-isolation .

FROM ${BASE}
# libnuma1: vLLM's kernels for CPUs. g++: torch and Triton compile kernels when a model is loaded.
RUN apt-get update \
    && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends bash ca-certificates g++ libnuma1 \
    && rm -rf /var/lib/apt/lists/* \
    && groupadd --gid 1000 matrix \
    && useradd --uid 1000 --gid 1000 --home-dir /home/matrix --shell /bin/bash --no-create-home matrix \
    && install -d -m 1777 /home/matrix
COPY --from=environment /opt/matrix /opt/matrix
ENV PATH=/opt/matrix/bin:/usr/local/bin:/usr/bin:/bin \
    HOME=/home/matrix \
    USER=matrix \
    PYTHONUNBUFFERED=1 \
    RAY_USAGE_STATS_ENABLED=0
WORKDIR /home/matrix
USER 1000:1000
ENTRYPOINT ["matrix"]
CMD ["--help"]
