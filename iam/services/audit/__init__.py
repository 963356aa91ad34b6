"""The audit trail: recorded with every change, sealed, verified, exported, forwarded."""

from iam.services.audit.filters import PAGE, Filter
from iam.services.audit.trail import NOTHING, Audit, Target
from iam.services.audit.vocabulary import Event

__all__ = ["NOTHING", "PAGE", "Audit", "Event", "Filter", "Target"]
