"""kube-iam: access management for Kubernetes."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("kube-iam")
except PackageNotFoundError:  # a bare checkout
    __version__ = "0.0.0"
