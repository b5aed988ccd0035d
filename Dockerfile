# A server, from the wheel that `python -m pip wheel --no-deps --wheel-dir dist .` makes.
#
#   docker build -t adapterhub --build-arg TORCH_INDEX=<the index of torch's CPU wheels> .
#   docker run -p 50151:50151 -v adapters:/var/lib/adapterhub -v ./server:/etc/adapterhub:ro adapterhub \
#     serve --base <base> --host 0.0.0.0 --tls-cert /etc/adapterhub/server.pem --tls-key /etc/adapterhub/server.key \
#     --keys /etc/adapterhub/keys.json
FROM python:3.11-slim

# Without it, torch comes from the usual index, with CUDA and several gigabytes.
ARG TORCH_INDEX=
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1

# Compiles the CPU's kernels, for the processor that the container runs on, when the server first starts.
RUN apt-get update && apt-get install --yes --no-install-recommends gcc libc6-dev && rm -rf /var/lib/apt/lists/*

COPY constraints.txt /tmp/
RUN pip install --constraint /tmp/constraints.txt ${TORCH_INDEX:+--index-url "$TORCH_INDEX"} torch
COPY dist/*.whl /tmp/
RUN pip install --constraint /tmp/constraints.txt /tmp/*.whl && rm /tmp/*.whl

RUN useradd --create-home --uid 10001 adapterhub && install --directory --owner adapterhub /var/lib/adapterhub
USER adapterhub
# Adapters; bases and what is derived from them.
ENV ADAPTERHUB_STORE=/var/lib/adapterhub/store XDG_CACHE_HOME=/var/lib/adapterhub/cache
VOLUME /var/lib/adapterhub
EXPOSE 50151

# Health needs no key. Where the port speaks TLS, run with a --health-cmd that names the CA: Client(..., tls=Tls(ca)).
HEALTHCHECK --start-period=2m --interval=15s --timeout=10s \
  CMD ["python", "-c", "from adapterhub import Client; Client().wait_ready(timeout=5)"]
ENTRYPOINT ["adapterhub"]
CMD ["serve", "--help"]
