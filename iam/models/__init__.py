"""What is stored. SQLAlchemy's mapped classes are the entities; there is no second set."""

from iam.models.audit import AuditBlock, AuditEvent, AuditKey, AuditOutlet
from iam.models.base import Base, UtcDateTime, db, new_id
from iam.models.catalogue import ApprovalRule, CatalogueEntry, EmergencyDoor
from iam.models.cluster import Cluster, ReconcileState
from iam.models.credential import Credential
from iam.models.grant import Grant
from iam.models.heartbeat import Heartbeat
from iam.models.mapping import Mapping
from iam.models.notice import Mute, Notice, Webhook
from iam.models.person import Group, LocalAccount, Membership, Person
from iam.models.policy import PolicyFile, PolicyVersion
from iam.models.request import AccessRequest, Asked, Comment, Decision, Draft
from iam.models.session import ApiToken, FailedLogin, Session
from iam.models.sync import SyncState

__all__ = [
    "AccessRequest", "ApiToken", "ApprovalRule", "Asked", "AuditBlock", "AuditEvent", "AuditKey", "AuditOutlet", "Base",
    "CatalogueEntry", "Cluster", "Comment", "Credential", "Decision", "Draft", "EmergencyDoor", "FailedLogin", "Grant", "Group",
    "Heartbeat", "LocalAccount", "Mapping", "Membership", "Mute", "Notice", "Person", "PolicyFile", "PolicyVersion",
    "ReconcileState", "Session", "SyncState", "UtcDateTime", "Webhook", "db", "new_id",
]
