"""The resources that kube-apiserver serves itself: API group, scope, subresources (discovery of Kubernetes 1.36)."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Resource:
    """One resource of one API group."""

    api_group: str
    name: str
    is_namespaced: bool
    subresources: tuple[str, ...] = ()

    @property
    def combined(self) -> tuple[str, ...]:
        """``pods``, ``pods/log``, ... as RBAC names them."""
        return (self.name, *(f"{self.name}/{one}" for one in self.subresources))


_SERVED = (
    ("", True, (
        "bindings configmaps endpoints events limitranges persistentvolumeclaims/status "
        "pods/attach/binding/ephemeralcontainers/eviction/exec/log/portforward/proxy/resize/status podtemplates "
        "replicationcontrollers/scale/status resourcequotas/status secrets serviceaccounts/token services/proxy/status"
    )),
    ("", False, "componentstatuses namespaces/finalize/status nodes/proxy/status persistentvolumes/status"),
    ("admissionregistration.k8s.io", False, (
        "mutatingadmissionpolicies mutatingadmissionpolicybindings mutatingwebhookconfigurations "
        "validatingadmissionpolicies/status validatingadmissionpolicybindings validatingwebhookconfigurations"
    )),
    ("apiextensions.k8s.io", False, "customresourcedefinitions/status"),
    ("apiregistration.k8s.io", False, "apiservices/status"),
    ("apps", True, "controllerrevisions daemonsets/status deployments/scale/status replicasets/scale/status statefulsets/scale/status"),
    ("authentication.k8s.io", False, "selfsubjectreviews tokenreviews"),
    ("authorization.k8s.io", True, "localsubjectaccessreviews"),
    ("authorization.k8s.io", False, "selfsubjectaccessreviews selfsubjectrulesreviews subjectaccessreviews"),
    ("autoscaling", True, "horizontalpodautoscalers/status"),
    ("batch", True, "cronjobs/status jobs/status"),
    ("certificates.k8s.io", False, "certificatesigningrequests/approval/status"),
    ("coordination.k8s.io", True, "leases"),
    ("discovery.k8s.io", True, "endpointslices"),
    ("events.k8s.io", True, "events"),
    ("flowcontrol.apiserver.k8s.io", False, "flowschemas/status prioritylevelconfigurations/status"),
    ("networking.k8s.io", True, "ingresses/status networkpolicies"),
    ("networking.k8s.io", False, "ingressclasses ipaddresses servicecidrs/status"),
    ("node.k8s.io", False, "runtimeclasses"),
    ("policy", True, "poddisruptionbudgets/status"),
    ("rbac.authorization.k8s.io", True, "rolebindings roles"),
    ("rbac.authorization.k8s.io", False, "clusterrolebindings clusterroles"),
    ("resource.k8s.io", True, "resourceclaims/status resourceclaimtemplates"),
    ("resource.k8s.io", False, "deviceclasses resourceslices"),
    ("scheduling.k8s.io", False, "priorityclasses"),
    ("storage.k8s.io", True, "csistoragecapacities"),
    ("storage.k8s.io", False, "csidrivers csinodes storageclasses volumeattachments/status volumeattributesclasses"),
)
"""(API group, namespaced, resources each followed by its subresources)"""

BUILT_IN = {
    (group, name): Resource(group, name, is_namespaced, tuple(subresources))
    for group, is_namespaced, words in _SERVED
    for name, *subresources in (word.split("/") for word in words.split())
}
GROUPS = frozenset(group for group, _name in BUILT_IN)


def groups_of(resource: str) -> tuple[str, ...]:
    """The API groups that serve a resource of this name."""
    return tuple(group for group, name in BUILT_IN if name == resource)
