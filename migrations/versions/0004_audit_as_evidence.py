"""audit as evidence"""

from datetime import UTC

import sqlalchemy as sa
from alembic import op
from flask import current_app

from iam.evidence.events import facts_of, moment, parsed_moment, text_of
from iam.models import new_id

revision = '0004'
down_revision = '0003'
branch_labels = None
depends_on = None

DERIVED = (
    'action', 'result', 'reason', 'actor_name', 'actor_id', 'door', 'address', 'request_id', 'target_kind', 'target_name', 'person',
    'case_id', 'cluster',
)
USUAL = {
    'actor_name': '', 'actor_id': '', 'target_name': '', 'person': '', 'case_id': '', 'cluster': '', 'request_id': '', 'result': 'done',
}
AT_ONCE = 1000
KEPT = (
    ('at', sa.DateTime(timezone=True)), ('action', sa.String(64)), ('result', sa.String(16)), ('actor_id', sa.String(24)),
    ('actor_name', sa.String(255)), ('target_kind', sa.String(32)), ('target_name', sa.String(255)), ('cluster', sa.String(63)),
    ('address', sa.String(64)), ('door', sa.String(16)), ('request_id', sa.String(64)), ('reason', sa.String(500)), ('details', sa.JSON()),
)
NUMBER = sa.BigInteger().with_variant(sa.Integer(), 'sqlite')


def derived(field: str) -> sa.Computed:
    if op.get_bind().dialect.name == 'postgresql':
        return sa.Computed(f"((body)::json ->> '{field}'::text)", persisted=True)
    return sa.Computed(f"json_extract(body, '$.{field}')", persisted=True)


def index(name: str, where: str, *columns: str) -> None:
    part = sa.text(where)
    op.create_index(f'ix_audit_trail_{name}', 'audit_trail', columns, unique=False, sqlite_where=part, postgresql_where=part)


def upgrade() -> None:
    op.create_table('audit_trail',
    sa.Column('id', NUMBER, autoincrement=True, nullable=False),
    sa.Column('seq', NUMBER, nullable=True),
    sa.Column('body', sa.Text(), nullable=False),
    sa.Column('mark', sa.Text(), nullable=False),
    sa.Column('at', sa.String(length=27), derived('at'), nullable=False),
    *(sa.Column(field, sa.Text(), derived(field), nullable=False) for field in DERIVED),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_audit_trail')),
    sa.UniqueConstraint('seq', name=op.f('uq_audit_trail_seq'))
    )
    carry_over()
    op.drop_table('audit_events')
    for field in ('action', 'at'):
        op.create_index(f'ix_audit_trail_{field}', 'audit_trail', [field, 'id'], unique=False)
    for field, usual in USUAL.items():
        index(field, f"{field} <> '{usual}'", field, 'id', *(['action'] if field == 'cluster' else []))
    index('worker', "actor_name = 'kube-iam'", 'action', 'id')
    for field in ('actor_name', 'action', 'cluster'):
        index(f'trouble_{field}', "result <> 'done'", field, 'id')
    index('unsealed', 'seq IS NULL', 'id')
    if op.get_bind().dialect.name == 'postgresql':  # what is often, and what never stands together, so that the right index is taken
        for one, other in (('action', 'result'), ('action', 'cluster'), ('result', 'cluster')):
            op.execute(f'CREATE STATISTICS st_audit_trail_{one}_{other} (mcv) ON {one}, {other} FROM audit_trail')
            op.execute(f'ALTER STATISTICS st_audit_trail_{one}_{other} SET STATISTICS 1000')
    op.create_table('audit_blocks',
    sa.Column('number', NUMBER, autoincrement=False, nullable=False),
    sa.Column('first_seq', NUMBER, nullable=False),
    sa.Column('last_seq', NUMBER, nullable=False),
    sa.Column('hash', sa.Text(), nullable=False),
    sa.Column('header', sa.Text(), nullable=False),
    sa.Column('leaves', sa.Text(), nullable=False),
    sa.Column('signature', sa.Text(), nullable=False),
    sa.Column('sealed_at', sa.String(length=27), nullable=False),
    sa.Column('has_events', sa.Boolean(), nullable=False),
    sa.PrimaryKeyConstraint('number', name=op.f('pk_audit_blocks')),
    sa.UniqueConstraint('first_seq', name=op.f('uq_audit_blocks_first_seq')),
    sa.UniqueConstraint('last_seq', name=op.f('uq_audit_blocks_last_seq'))
    )
    op.create_index(op.f('ix_audit_blocks_sealed_at'), 'audit_blocks', ['sealed_at'], unique=False)
    op.create_table('audit_keys',
    sa.Column('number', sa.Integer(), nullable=False),
    sa.Column('fingerprint', sa.String(length=64), nullable=False),
    sa.Column('public', sa.String(length=64), nullable=False),
    sa.Column('private', sa.LargeBinary(), nullable=True),
    sa.Column('introduced_by', sa.String(length=64), nullable=False),
    sa.Column('signature', sa.String(length=128), nullable=False),
    sa.Column('created_at', sa.DateTime(timezone=True), nullable=False),
    sa.PrimaryKeyConstraint('number', name=op.f('pk_audit_keys')),
    sa.UniqueConstraint('fingerprint', name=op.f('uq_audit_keys_fingerprint'))
    )
    op.create_table('audit_outlets',
    sa.Column('name', sa.String(length=80), nullable=False),
    sa.Column('position', NUMBER, nullable=False),
    sa.Column('delivered_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('attempts', sa.Integer(), nullable=False),
    sa.Column('next_attempt_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('error', sa.String(length=500), nullable=False),
    sa.Column('is_alarmed', sa.Boolean(), nullable=False),
    sa.PrimaryKeyConstraint('name', name=op.f('pk_audit_outlets'))
    )


def carry_over() -> None:
    """What was recorded so far becomes texts, marked as ours, and is sealed by the first blocks."""
    mark = current_app.extensions['kube-iam'].world.vault.mark
    old = sa.table('audit_events', sa.column('id'), *(sa.column(name, kind) for name, kind in KEPT))
    new = sa.table('audit_trail', sa.column('id'), sa.column('body'), sa.column('mark'))
    connection, last = op.get_bind(), 0
    while rows := connection.execute(sa.select(old).where(old.c.id > last).order_by(old.c.id).limit(AT_ONCE)).mappings().all():
        last = rows[-1]['id']
        events = []
        for row in rows:
            at = row['at'] if row['at'].tzinfo else row['at'].replace(tzinfo=UTC)
            person = row['target_name'] if row['target_kind'] == 'person' else ''
            text = text_of({**row, 'at': moment(at), 'id': new_id(), 'person': person, 'case_id': ''})
            events.append({'id': row['id'], 'body': text, 'mark': mark(text.encode())})
        connection.execute(sa.insert(new), events)
    if last and connection.dialect.name == 'postgresql':
        connection.execute(sa.text("SELECT setval(pg_get_serial_sequence('audit_trail', 'id'), :last)"), {'last': last})


def carry_back() -> None:
    """The events without their seals."""
    old = sa.table('audit_events', sa.column('id'), *(sa.column(name, kind) for name, kind in KEPT))
    new = sa.table('audit_trail', sa.column('id'), sa.column('body'))
    connection, last = op.get_bind(), 0
    while rows := connection.execute(sa.select(new).where(new.c.id > last).order_by(new.c.id).limit(AT_ONCE)).all():
        last = rows[-1].id
        connection.execute(sa.insert(old), [
            {name: parsed_moment(facts[name]) if name == 'at' else facts[name] for name in ('id', *(kept for kept, _kind in KEPT))}
            for facts in (facts_of(row.body) | {'id': row.id} for row in rows)
        ])
    if last and connection.dialect.name == 'postgresql':
        connection.execute(sa.text("SELECT setval(pg_get_serial_sequence('audit_events', 'id'), :last)"), {'last': last})


def downgrade() -> None:
    op.drop_table('audit_outlets')
    op.drop_table('audit_keys')
    op.drop_table('audit_blocks')
    op.create_table('audit_events',
    sa.Column('id', NUMBER, autoincrement=True, nullable=False),
    *(sa.Column(name, kind, nullable=False) for name, kind in KEPT),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_audit_events'))
    )
    carry_back()
    for name, columns in (
        ('actor', ['actor_name', 'id']), ('actor_id', ['actor_id', 'id']), ('action', ['action', 'id']),
        ('target', ['target_kind', 'target_name', 'id']), ('at', ['at']), ('cluster', ['cluster']), ('request_id', ['request_id']),
    ):
        op.create_index(f'ix_audit_events_{name}', 'audit_events', columns, unique=False)
    op.drop_table('audit_trail')
