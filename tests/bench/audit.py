"""The audit trail: what sealed evidence costs a change, two million events sealed, exported and verified, pages over ten million.

BENCH_AUDIT_EVENTS and BENCH_AUDIT_PAGES set other numbers of events.
"""

from __future__ import annotations

import os
import statistics
import sys
import time
from concurrent.futures import Executor
from pathlib import Path

from rigs.processes import RigMissing

from bench import audit_alone
from bench.audit_alone import Exported, alone
from bench.audit_crowd import fill, tidy
from bench.audit_pages import pages
from bench.ground import Ground
from bench.installation import Installation
from bench.measure import seconds_of
from bench.table import Row, Target
from iam.models import Cluster, ReconcileState, db, new_id
