"""Files that are handed out: whoever takes one stands in the audit trail."""

from __future__ import annotations

from flask import Response

from iam import services
from iam.services.audit import Target
from iam.web.visitors import actor


def attachment(content: str | bytes, filename: str, mimetype: str) -> Response:
    """The file, after the event."""
    services.current().audit.downloaded(actor(), Target("file", filename))
    return Response(content, mimetype=mimetype, headers={"Content-Disposition": f"attachment; filename={filename}"})
