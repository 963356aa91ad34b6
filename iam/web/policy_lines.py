"""One policy line as a form."""

from __future__ import annotations

from flask_wtf import FlaskForm
from wtforms import BooleanField, StringField

from iam.errors import Invalid, NotFound
from iam.kube.abac import REFERENCES, Policy, Reference
from iam.kube.requests import AUTHENTICATED
from iam.services.policy_drafts import Draft, line_for


class LineForm(FlaskForm):  # type: ignore[misc]  # Flask-WTF ships no types
    """Who may do what, where."""

    subject_kind = StringField(default="directoryGroup")
    """``directoryGroup``, ``person``, ``user``, ``group`` or ``everybody``."""
    subject = StringField()
    readonly = BooleanField()
    namespace = StringField()
    resource = StringField()
    api_group = StringField()
    path = StringField()
    reason = StringField()

    def written(self) -> str:
        """The canonical line. Raises Invalid, naming the field."""
        kind, subject = self.subject_kind.data or "", (self.subject.data or "").strip()
        if kind != "everybody" and not subject:
            raise Invalid("Say who it is for.", field="subject")
        reference = Reference(kind, subject) if kind in REFERENCES else None
        if reference and not all(subject.partition(":")[::2]):
            raise Invalid("This should read directory:name.", field="subject")
        what = {name: (self[name].data or "").strip() for name in ("namespace", "resource", "api_group")}
        path = (self.path.data or "").strip()
        if not what["resource"] and not path:
            raise Invalid("Say what it is about: a resource or a path.", field="resource")
        policy = Policy(
            user=subject if kind == "user" else "", group=subject if kind == "group" else AUTHENTICATED if kind == "everybody" else "",
            readonly=bool(self.readonly.data), non_resource_path=path, **what,
        )
        return line_for(policy, reference)


def form_of(draft: Draft, number: int | None) -> LineForm:
    """The form for a line as it stands, or for a new one. Raises NotFound, Invalid."""
    if number is None:
        return LineForm(formdata=None, data={"subject_kind": "directoryGroup", "namespace": "", "resource": "", "api_group": "*"})
    line = next((one for one in draft.lines if one.number == number), None)
    if line is None or line.policy is None:
        raise NotFound("There is no policy in line %(number)s.", number=number)
    policy = line.policy
    if policy.user and policy.group:
        raise Invalid("A line for a user only while in a group is edited as text.", field="line")
    kind, subject = ("user", policy.user) if policy.user else ("group", policy.group)
    if line.reference:
        kind, subject = line.reference.kind, line.reference.name
    elif policy.group == AUTHENTICATED:
        kind, subject = "everybody", ""
    return LineForm(formdata=None, data={
        "subject_kind": kind, "subject": subject, "readonly": policy.readonly, "namespace": policy.namespace, "resource": policy.resource,
        "api_group": policy.api_group, "path": policy.non_resource_path,
    })  # fmt: skip
