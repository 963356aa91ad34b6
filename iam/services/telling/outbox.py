"""Delivering: what lies in the outbox goes out, again and again with growing pauses, until it arrives or is given up."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import timedelta

from flask import current_app
from flask_babel import force_locale
from sqlalchemy import case, delete, func, select, update
from sqlalchemy.orm import joinedload

from iam import log
from iam.models import Notice, db
from iam.notify.base import Call, Letter, NotDelivered
from iam.services.audit import Audit, Event, Target
from iam.services.base import READ, WORKER, Actor, World, transaction
from iam.services.locks import only_one
from iam.services.telling import words
from iam.services.telling.notices import ALWAYS

_log = log.get(__name__)
MAIL = "mail"
AT_ONCE = 100
FIRST_PAUSE, LONGEST_PAUSE = timedelta(seconds=30), timedelta(hours=1)
ATTEMPTS = 14
"""About eight hours."""
KEPT = timedelta(days=30)


class Outbox:
    """Use cases of the outbox."""

    def __init__(self, world: World, audit: Audit) -> None:
        self._world = world
        self._audit = audit

    def due(self) -> list[str]:
        """Where something is to be delivered now: ``mail``, or a webhook's id. Each goes its own way, so a slow one holds up no other."""
        query = select(Notice.webhook_id).where(Notice.next_attempt_at <= self._world.now()).distinct()
        return sorted({webhook_id or MAIL for webhook_id in db.session.scalars(query)})

    def deliver(self, destination: str) -> int:
        """Try everything that is due there, once; returns how many arrived."""
        with only_one(f"outbox {destination}") as mine:
            if not mine:
                return 0
            where = Notice.webhook_id.is_(None) if destination == MAIL else Notice.webhook_id == destination
            due = select(Notice.id).where(where, Notice.next_attempt_at <= self._world.now()).limit(AT_ONCE)
            due = due.order_by(case((Notice.event.in_(ALWAYS), 0), else_=1), Notice.created_at)  # break-glass before all else
            return sum(self._try(notice_id) for notice_id in db.session.scalars(due).all())

    def latest(self, actor: Actor, most: int = 50) -> Sequence[Notice]:
        """What was tried last, for administrators."""
        self._audit.require(actor, "administrator", "auditor", scope=READ)
        query = select(Notice).options(joinedload(Notice.person), joinedload(Notice.webhook)).order_by(Notice.created_at.desc())
        return db.session.scalars(query.limit(most)).all()

    def held_up(self) -> int:
        """How many were tried and did not arrive yet."""
        query = select(func.count()).select_from(Notice).where(Notice.next_attempt_at.is_not(None), Notice.attempts > 0)
        return db.session.scalar(query) or 0

    def forget_old(self) -> None:
        """Drop what was delivered or given up long ago (housekeeping)."""
        with transaction():
            old = self._world.now() - KEPT
            db.session.execute(delete(Notice).where(Notice.next_attempt_at.is_(None), Notice.created_at < old))

    def _try(self, notice_id: str) -> int:
        """The next attempt is put off before this one is made: a crash in between costs a pause, and never a flood."""
        now = self._world.now()
        with transaction():
            notice = db.session.get(Notice, notice_id, populate_existing=True)
            if notice is None or notice.next_attempt_at is None:
                return 0
            notice.attempts += 1
            notice.next_attempt_at = now + min(FIRST_PAUSE * 2 ** min(notice.attempts - 1, 12), LONGEST_PAUSE)
        error, is_over = "", True
        try:
            self._send(notice_id)
        except NotDelivered as problem:
            error, is_over = str(problem), problem.for_good
        except Exception as bug:  # noqa: BLE001  # one notice that cannot be sent must not stop those behind it
            _log.exception("notice could not be sent", notice=notice_id, error=type(bug).__name__)
            error, is_over = f"it could not be sent ({type(bug).__name__})", False
            db.session.rollback()
        with transaction():
            self._note(notice_id, error, is_over=is_over)
        return not error

    def _send(self, notice_id: str) -> None:
        whole = joinedload(Notice.person), joinedload(Notice.webhook)
        notice = db.session.scalars(select(Notice).where(Notice.id == notice_id).options(*whole)).one()
        if notice.person and notice.person.is_disabled:
            raise NotDelivered("the person is shut out", for_good=True)
        parcel = self._letter(notice) if notice.person else self._call(notice)
        db.session.commit()  # no transaction stays open while somebody else answers
        if isinstance(parcel, Letter):
            self._world.mail.send(parcel)
        else:
            self._world.webhooks.send(parcel)

    def _note(self, notice_id: str, error: str, *, is_over: bool) -> None:
        notice = db.session.get(Notice, notice_id)
        if notice is None:
            return
        notice.error = error[:500]
        if not error:
            notice.sent_at, notice.next_attempt_at = self._world.now(), None
            return
        _log.warning("notice not delivered", notice=notice_id, attempts=notice.attempts, error=error)
        if is_over or notice.attempts >= ATTEMPTS:
            db.session.execute(update(Notice).where(Notice.id == notice_id).values(next_attempt_at=None))
            whom = notice.person.username if notice.person else notice.webhook.name if notice.webhook else ""
            self._audit.record(WORKER, Event.NOTICE_LOST, Target("notice", whom), result="failed", reason=error, told=notice.event)

    def _letter(self, notice: Notice) -> Letter:
        person = notice.person
        assert person is not None  # noqa: S101  # the caller looked
        language = person.language or self._world.settings.server.language
        with force_locale(language):
            headline = words.headline(notice.event, notice.facts)
            values = {
                "headline": headline, "lines": words.lines(notice.facts), "link": self._link(notice),
                "can_mute": notice.event not in ALWAYS, "language": "zh-Hans" if language.startswith("zh") else "en",
            }
            text, html = (current_app.jinja_env.get_template(f"mails/notice.{kind}").render(**values) for kind in ("txt", "html"))
        return Letter(notice.id, person.email, person.display_name, headline, text, html)

    def _call(self, notice: Notice) -> Call:
        webhook = notice.webhook
        assert webhook is not None  # noqa: S101  # a notice is for a person or for a webhook
        link = self._link(notice)
        with force_locale(self._world.settings.server.language):
            headline = words.headline(notice.event, notice.facts)
            body = (
                slack_message(headline, words.lines(notice.facts), link) if webhook.format == "slack"
                else {"type": notice.event, "timestamp": notice.created_at.isoformat(), "data": {**notice.facts, "link": link}}
            )
        opened = self._world.vault.open(webhook.url), self._world.vault.open(webhook.secret)
        return Call(notice.id, opened[0]["url"], opened[1]["secret"], json.dumps(body, ensure_ascii=False).encode())

    def _link(self, notice: Notice) -> str:
        return self._world.settings.server.public_url.rstrip("/") + notice.link


def slack_message(headline: str, facts: Sequence[tuple[str, str]], link: str) -> dict[str, object]:
    """Slack's incoming webhooks, and what copies them (Mattermost, Rocket.Chat): mrkdwn with the three characters escaped.

    https://docs.slack.dev/messaging/formatting-message-text#escaping
    """
    details = "\n".join(f"*{_escaped(label)}:* {_escaped(value)}" for label, value in facts)
    return {"text": f"*<{link}|{_escaped(headline)}>*\n{details}"[:39000], "mrkdwn": True}


def _escaped(text: str) -> str:
    """No markup, no mentions; blanks stand for line breaks, and for the signs that would make bold or code."""
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return " ".join(text.replace("|", "¦").replace("*", "∗").replace("`", "'").split())
