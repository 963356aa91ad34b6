# syntax=docker/dockerfile:1
# Two stages: build a wheel and its locked dependencies, then copy only what runs.
FROM python:3.13-slim AS build
WORKDIR /src
COPY config/requirements.lock config/requirements.lock
RUN python -m venv /opt/iam && /opt/iam/bin/pip install --no-cache-dir --require-hashes -r config/requirements.lock
COPY . .
RUN pip wheel --no-cache-dir --no-deps -w /dist . && /opt/iam/bin/pip install --no-cache-dir --no-deps /dist/*.whl

FROM python:3.13-slim
RUN useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin iam
COPY --from=build /opt/iam /opt/iam
ENV PATH=/opt/iam/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 \
    KUBE_IAM_CONFIG=/etc/kube-iam/kube-iam.toml KUBE_IAM_SERVER__HOST=0.0.0.0
USER 10001:10001
# The root file system may be read-only; /tmp holds counters and short-lived connection files.
VOLUME ["/tmp"]
EXPOSE 8000
HEALTHCHECK --interval=15s --timeout=3s --start-period=20s \
  CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8000/readyz', timeout=2)"]
ENTRYPOINT ["iam"]
CMD ["serve"]
