# Workers that train and read datasets, and beat. Build it from the root of the checkout:
#   docker build -f deploy/worker.Dockerfile .                          for processors
#   docker build -f deploy/worker.Dockerfile --build-arg TORCH=cuda .   for NVIDIA GPUs

# The version that the tests run on.
ARG PYTHON_VERSION=3.11

FROM python:${PYTHON_VERSION}-slim AS build
# cpu takes the pins of constraints-cpu.txt, cuda the range of pyproject.toml.
ARG TORCH=cpu
# The small build of torch is found where PIP_EXTRA_INDEX_URL is PyTorch's index of CPU builds; without it the same
# version brings CUDA along, which works as well and is 4 GB larger.
ARG PIP_INDEX_URL=""
ARG PIP_EXTRA_INDEX_URL=""
WORKDIR /source
RUN python -m venv /venv
# The dependencies first, each file by its hash: a change of our code does not install them again.
COPY locks/worker.txt locks/worker.txt
RUN /venv/bin/pip install --no-cache-dir --require-hashes --no-deps --requirement locks/worker.txt
# Of torch the right file depends on where it is looked for, so that no hash of it can be known here.
COPY pyproject.toml README.md LICENSE constraints.txt constraints-cpu.txt ./
RUN case "$TORCH" in \
        cpu) set -- --constraint constraints-cpu.txt torch ;; \
        cuda) set -- "$(sed -n 's/^ *"\(torch[<>=].*\)",.*$/\1/p' pyproject.toml)" ;; \
        *) echo "TORCH is cpu or cuda, not $TORCH" >&2; exit 1 ;; \
    esac \
    && /venv/bin/pip install --no-cache-dir --constraint constraints.txt "$@"
COPY core core
COPY worker worker
COPY client client
RUN /venv/bin/pip install --no-cache-dir --no-deps --no-build-isolation .

FROM python:${PYTHON_VERSION}-slim
RUN groupadd --gid 10001 lenet \
    && useradd --uid 10001 --gid lenet --no-create-home --home-dir /data lenet \
    && install --directory --owner lenet --group lenet /data
COPY --from=build /venv /venv
# The NVIDIA variables say what the container toolkit mounts; without it they mean nothing.
ENV PATH=/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 LENET_DATA_DIR=/data \
    NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility
WORKDIR /data
USER 10001:10001
CMD ["python", "-m", "worker", "train"]
