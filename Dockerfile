# One image for every service: `serve` (API and pages), `serve --no-ui` (API alone), `build ...`.
#   docker build -t geo-atlas .                             CPU
#   docker build -t geo-atlas:gpu --build-arg DEVICE=gpu .  NVIDIA GPU (CUDA 12)
# TORCH_INDEX may name a package index that holds torch without CUDA libraries: the CPU image is then some 2 GB smaller.
FROM python:3.11-slim

ARG DEVICE=cpu
ARG TORCH_INDEX=
ARG GIT_SHA=unknown
ENV PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    GEO_ATLAS_GIT_SHA=${GIT_SHA} \
    GEO_ATLAS_HOME=/data

WORKDIR /src
COPY requirements.lock ./
# faiss-cpu and faiss-gpu-cu12 install the same folder, so exactly one of them may be there.
RUN set -eu; \
    if [ "$DEVICE" = gpu ]; then \
      sed -i 's/^faiss-cpu==.*/faiss-gpu-cu12>=1.9/' requirements.lock; \
    elif [ -n "$TORCH_INDEX" ]; then \
      pip install --index-url "$TORCH_INDEX" "$(grep '^torch==' requirements.lock)"; \
    fi; \
    pip install -r requirements.lock

COPY pyproject.toml LICENSE README.md ./
COPY atlas atlas
COPY indexer indexer
COPY api api
COPY ui ui
COPY cli cli
COPY migrations migrations
COPY starter starter
RUN pip install --no-deps .

RUN useradd --uid 10001 --create-home atlas && mkdir /data && chown atlas:atlas /data
WORKDIR /home/atlas
USER atlas
VOLUME /data
EXPOSE 8000 8501

ENTRYPOINT ["geo-atlas"]
CMD ["serve"]
