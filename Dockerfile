# CPU:  docker build --target cpu -t transferkit:cpu .
# CUDA: docker build --target cuda -t transferkit:cuda .
# Then: docker run --rm -p 8000:8000 -v "$PWD/model:/model:ro" transferkit:cpu serve /model --host 0.0.0.0
FROM python:3.12-slim AS wheel
WORKDIR /src
COPY pyproject.toml README.md ./
COPY transferkit transferkit
COPY plugins plugins
COPY recipes recipes
RUN pip wheel --no-cache-dir --no-deps -w /wheels .

FROM python:3.12-slim AS base
RUN useradd --create-home transferkit
COPY constraints.txt /tmp/
COPY --from=wheel /wheels /wheels
WORKDIR /work
ENTRYPOINT ["transferkit"]
CMD ["--help"]

# The index of torch's CPU builds is given by who builds: --build-arg TORCH_INDEX=URL
FROM base AS cpu
ARG TORCH_INDEX
RUN pip install --no-cache-dir ${TORCH_INDEX:+--index-url "$TORCH_INDEX"} -c /tmp/constraints.txt torch torchvision \
 && pip install --no-cache-dir -c /tmp/constraints.txt "$(ls /wheels/*.whl)[serve,export,cam]"
USER transferkit

FROM base AS cuda
RUN pip install --no-cache-dir -c /tmp/constraints.txt "$(ls /wheels/*.whl)[serve,export,cam]"
USER transferkit
