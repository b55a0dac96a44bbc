# The API without torch: it predicts with ONNX Runtime. The same image migrates the database.
# Build it from the root of the checkout: docker build -f deploy/api.Dockerfile .

# The version that the tests run on.
ARG PYTHON_VERSION=3.11

FROM python:${PYTHON_VERSION}-slim AS build
# For an index or a mirror of your own; a build argument leaves no trace in the final image.
ARG PIP_INDEX_URL=""
ARG PIP_EXTRA_INDEX_URL=""
WORKDIR /source
RUN python -m venv /venv
# The dependencies first, each file by its hash: a change of our code does not install them again.
COPY locks/api.txt locks/api.txt
RUN /venv/bin/pip install --no-cache-dir --require-hashes --no-deps --requirement locks/api.txt
COPY pyproject.toml README.md LICENSE ./
COPY core core
COPY api api
COPY client client
COPY migrations migrations
RUN /venv/bin/pip install --no-cache-dir --no-deps --no-build-isolation .

FROM python:${PYTHON_VERSION}-slim
RUN groupadd --gid 10001 lenet \
    && useradd --uid 10001 --gid lenet --no-create-home --home-dir /data lenet \
    && install --directory --owner lenet --group lenet /data
COPY --from=build /venv /venv
ENV PATH=/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 LENET_DATA_DIR=/data
WORKDIR /data
USER 10001:10001
EXPOSE 8000
CMD ["python", "-m", "api.server"]
