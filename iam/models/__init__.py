"""What is stored. SQLAlchemy's mapped classes are the entities; there is no second set."""

from iam.models.audit import AuditEvent
from iam.models.base import Base, UtcDateTime, db, new_id
from iam.models.cluster import Cluster, ReconcileState
from iam.models.credential import Credential
from iam.models.heartbeat import Heartbeat
from iam.models.mapping import Mapping
from iam.models.person import Group, LocalAccount, Membership, Person
from iam.models.policy import PolicyFile, PolicyVersion
from iam.models.session import ApiToken, FailedLogin, Session
from iam.models.sync import SyncState

__all__ = [
    "ApiToken", "AuditEvent", "Base", "Cluster", "Credential", "FailedLogin", "Group", "Heartbeat", "LocalAccount", "Mapping",
    "Membership", "Person", "PolicyFile", "PolicyVersion", "ReconcileState", "Session", "SyncState", "UtcDateTime", "db", "new_id",
]
