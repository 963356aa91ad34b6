"""requests"""

import sqlalchemy as sa
from alembic import op

revision = '0003'
down_revision = '0002'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table('catalogue_entries',
    sa.Column('id', sa.String(length=24), nullable=False),
    sa.Column('name', sa.String(length=63), nullable=False),
    sa.Column('title', sa.String(length=120), nullable=False),
    sa.Column('description', sa.String(length=2000), nullable=False),
    sa.Column('role_kind', sa.String(length=16), nullable=False),
    sa.Column('role_name', sa.String(length=253), nullable=False),
    sa.Column('clusters', sa.JSON(), nullable=False),
    sa.Column('namespaces', sa.JSON(), nullable=False),
    sa.Column('groups', sa.JSON(), nullable=False),
    sa.Column('longest_seconds', sa.Integer(), nullable=False),
    sa.Column('is_open', sa.Boolean(), nullable=False),
    sa.Column('risks', sa.JSON(), nullable=False),
    sa.Column('missing_in', sa.JSON(), nullable=False),
    sa.Column('changed_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('changed_by', sa.String(length=255), nullable=False),
    sa.CheckConstraint("role_kind IN ('Role', 'ClusterRole')", name=op.f('ck_catalogue_entries_role_kind')),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_catalogue_entries')),
    sa.UniqueConstraint('name', name=op.f('uq_catalogue_entries_name'))
    )
    op.create_table('emergency_doors',
    sa.Column('id', sa.String(length=24), nullable=False),
    sa.Column('name', sa.String(length=63), nullable=False),
    sa.Column('title', sa.String(length=120), nullable=False),
    sa.Column('description', sa.String(length=2000), nullable=False),
    sa.Column('role_kind', sa.String(length=16), nullable=False),
    sa.Column('role_name', sa.String(length=253), nullable=False),
    sa.Column('clusters', sa.JSON(), nullable=False),
    sa.Column('namespaces', sa.JSON(), nullable=False),
    sa.Column('groups', sa.JSON(), nullable=False),
    sa.Column('tell', sa.JSON(), nullable=False),
    sa.Column('reviewers', sa.JSON(), nullable=False),
    sa.Column('longest_seconds', sa.Integer(), nullable=False),
    sa.Column('review_seconds', sa.Integer(), nullable=False),
    sa.Column('is_sealed', sa.Boolean(), nullable=False),
    sa.Column('changed_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('changed_by', sa.String(length=255), nullable=False),
    sa.CheckConstraint("role_kind IN ('Role', 'ClusterRole')", name=op.f('ck_emergency_doors_role_kind')),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_emergency_doors')),
    sa.UniqueConstraint('name', name=op.f('uq_emergency_doors_name'))
    )
    op.create_table('webhooks',
    sa.Column('id', sa.String(length=24), nullable=False),
    sa.Column('name', sa.String(length=63), nullable=False),
    sa.Column('url', sa.LargeBinary(), nullable=False),
    sa.Column('host', sa.String(length=255), nullable=False),
    sa.Column('format', sa.String(length=8), nullable=False),
    sa.Column('secret', sa.LargeBinary(), nullable=False),
    sa.Column('events', sa.JSON(), nullable=False),
    sa.Column('created_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('created_by', sa.String(length=255), nullable=False),
    sa.CheckConstraint("format IN ('json', 'slack')", name=op.f('ck_webhooks_format')),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_webhooks')),
    sa.UniqueConstraint('name', name=op.f('uq_webhooks_name'))
    )
    op.create_table('approval_rules',
    sa.Column('id', sa.String(length=24), nullable=False),
    sa.Column('position', sa.Integer(), nullable=False),
    sa.Column('name', sa.String(length=63), nullable=False),
    sa.Column('entry_id', sa.String(length=24), nullable=True),
    sa.Column('clusters', sa.JSON(), nullable=False),
    sa.Column('namespaces', sa.JSON(), nullable=False),
    sa.Column('stages', sa.Text(), nullable=False),
    sa.Column('longest_seconds', sa.Integer(), nullable=False),
    sa.Column('lapse_seconds', sa.Integer(), nullable=False),
    sa.Column('reason_pattern', sa.String(length=200), nullable=False),
    sa.Column('ticket_pattern', sa.String(length=200), nullable=False),
    sa.Column('changed_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('changed_by', sa.String(length=255), nullable=False),
    sa.Column('changed_by_human', sa.String(length=400), nullable=False),
    sa.ForeignKeyConstraint(['entry_id'], ['catalogue_entries.id'], name=op.f('fk_approval_rules_entry_id_catalogue_entries'), ondelete='CASCADE'),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_approval_rules')),
    sa.UniqueConstraint('name', name=op.f('uq_approval_rules_name'))
    )
    with op.batch_alter_table('approval_rules', schema=None) as batch_op:
        batch_op.create_index(batch_op.f('ix_approval_rules_position'), ['position'], unique=False)

    op.create_table('drafts',
    sa.Column('id', sa.String(length=24), nullable=False),
    sa.Column('person_id', sa.String(length=24), nullable=False),
    sa.Column('fields', sa.JSON(), nullable=False),
    sa.Column('at', sa.DateTime(timezone=True), nullable=False),
    sa.ForeignKeyConstraint(['person_id'], ['people.id'], name=op.f('fk_drafts_person_id_people'), ondelete='CASCADE'),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_drafts'))
    )
    with op.batch_alter_table('drafts', schema=None) as batch_op:
        batch_op.create_index(batch_op.f('ix_drafts_person_id'), ['person_id'], unique=False)

    op.create_table('mutes',
    sa.Column('person_id', sa.String(length=24), nullable=False),
    sa.Column('event', sa.String(length=32), nullable=False),
    sa.ForeignKeyConstraint(['person_id'], ['people.id'], name=op.f('fk_mutes_person_id_people'), ondelete='CASCADE'),
    sa.PrimaryKeyConstraint('person_id', 'event', name=op.f('pk_mutes'))
    )
    op.create_table('notices',
    sa.Column('id', sa.String(length=24), nullable=False),
    sa.Column('event', sa.String(length=32), nullable=False),
    sa.Column('person_id', sa.String(length=24), nullable=True),
    sa.Column('webhook_id', sa.String(length=24), nullable=True),
    sa.Column('facts', sa.JSON(), nullable=False),
    sa.Column('link', sa.String(length=200), nullable=False),
    sa.Column('created_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('next_attempt_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('attempts', sa.Integer(), nullable=False),
    sa.Column('sent_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('error', sa.String(length=500), nullable=False),
    sa.ForeignKeyConstraint(['person_id'], ['people.id'], name=op.f('fk_notices_person_id_people'), ondelete='CASCADE'),
    sa.ForeignKeyConstraint(['webhook_id'], ['webhooks.id'], name=op.f('fk_notices_webhook_id_webhooks'), ondelete='CASCADE'),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_notices'))
    )
    with op.batch_alter_table('notices', schema=None) as batch_op:
        batch_op.create_index('ix_notices_next_attempt_at', ['next_attempt_at'], unique=False)
        batch_op.create_index(batch_op.f('ix_notices_person_id'), ['person_id'], unique=False)
        batch_op.create_index(batch_op.f('ix_notices_webhook_id'), ['webhook_id'], unique=False)

    op.create_table('access_requests',
    sa.Column('id', sa.String(length=24), nullable=False),
    sa.Column('kind', sa.String(length=16), nullable=False),
    sa.Column('state', sa.String(length=16), nullable=False),
    sa.Column('version', sa.Integer(), nullable=False),
    sa.Column('person_id', sa.String(length=24), nullable=False),
    sa.Column('requester_subject', sa.String(length=300), nullable=False),
    sa.Column('requester_human', sa.String(length=400), nullable=False),
    sa.Column('entry_id', sa.String(length=24), nullable=True),
    sa.Column('door_id', sa.String(length=24), nullable=True),
    sa.Column('title', sa.String(length=120), nullable=False),
    sa.Column('cluster_id', sa.String(length=24), nullable=True),
    sa.Column('cluster_name', sa.String(length=63), nullable=False),
    sa.Column('role_kind', sa.String(length=16), nullable=False),
    sa.Column('role_name', sa.String(length=253), nullable=False),
    sa.Column('namespaces', sa.JSON(), nullable=False),
    sa.Column('seconds', sa.Integer(), nullable=False),
    sa.Column('asked_namespaces', sa.JSON(), nullable=False),
    sa.Column('asked_seconds', sa.Integer(), nullable=False),
    sa.Column('starts_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('reason', sa.Text(), nullable=False),
    sa.Column('ticket', sa.String(length=200), nullable=False),
    sa.Column('batch', sa.String(length=24), nullable=False),
    sa.Column('extends', sa.String(length=24), nullable=False),
    sa.Column('rule_id', sa.String(length=24), nullable=True),
    sa.Column('rule_name', sa.String(length=63), nullable=False),
    sa.Column('stages', sa.Text(), nullable=False),
    sa.Column('round', sa.Integer(), nullable=False),
    sa.Column('stage', sa.Integer(), nullable=False),
    sa.Column('risks', sa.JSON(), nullable=False),
    sa.Column('rules_digest', sa.String(length=64), nullable=False),
    sa.Column('created_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('submitted_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('lapses_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('urgent_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('decided_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('outcome', sa.String(length=500), nullable=False),
    sa.Column('review_due_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('reviewed_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('reviewer_id', sa.String(length=24), nullable=True),
    sa.Column('verdict', sa.String(length=16), nullable=False),
    sa.Column('review', sa.String(length=2000), nullable=False),
    sa.Column('chased_at', sa.DateTime(timezone=True), nullable=True),
    sa.CheckConstraint("kind IN ('request', 'emergency')", name=op.f('ck_access_requests_kind')),
    sa.CheckConstraint('reviewer_id <> person_id', name=op.f('ck_access_requests_reviewed_by_another')),
    sa.CheckConstraint("state IN ('pending', 'approved', 'denied', 'cancelled', 'lapsed', 'closed')", name=op.f('ck_access_requests_state')),
    sa.ForeignKeyConstraint(['cluster_id'], ['clusters.id'], name=op.f('fk_access_requests_cluster_id_clusters'), ondelete='SET NULL'),
    sa.ForeignKeyConstraint(['door_id'], ['emergency_doors.id'], name=op.f('fk_access_requests_door_id_emergency_doors'), ondelete='SET NULL'),
    sa.ForeignKeyConstraint(['entry_id'], ['catalogue_entries.id'], name=op.f('fk_access_requests_entry_id_catalogue_entries'), ondelete='SET NULL'),
    sa.ForeignKeyConstraint(['person_id'], ['people.id'], name=op.f('fk_access_requests_person_id_people')),
    sa.ForeignKeyConstraint(['reviewer_id'], ['people.id'], name=op.f('fk_access_requests_reviewer_id_people')),
    sa.ForeignKeyConstraint(['rule_id'], ['approval_rules.id'], name=op.f('fk_access_requests_rule_id_approval_rules'), ondelete='SET NULL'),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_access_requests')),
    sa.UniqueConstraint('id', 'requester_subject', 'requester_human', name=op.f('uq_access_requests_id_requester_subject_requester_human'))
    )
    with op.batch_alter_table('access_requests', schema=None) as batch_op:
        batch_op.create_index(batch_op.f('ix_access_requests_batch'), ['batch'], unique=False)
        batch_op.create_index(batch_op.f('ix_access_requests_cluster_id'), ['cluster_id'], unique=False)
        batch_op.create_index(batch_op.f('ix_access_requests_lapses_at'), ['lapses_at'], unique=False)
        batch_op.create_index('ix_access_requests_person_id_created_at', ['person_id', 'created_at'], unique=False)
        batch_op.create_index(batch_op.f('ix_access_requests_review_due_at'), ['review_due_at'], unique=False)
        batch_op.create_index('ix_access_requests_state_urgent_at', ['state', 'urgent_at'], unique=False)

    op.create_table('asked',
    sa.Column('request_id', sa.String(length=24), nullable=False),
    sa.Column('who', sa.String(length=64), nullable=False),
    sa.ForeignKeyConstraint(['request_id'], ['access_requests.id'], name=op.f('fk_asked_request_id_access_requests'), ondelete='CASCADE'),
    sa.PrimaryKeyConstraint('request_id', 'who', name=op.f('pk_asked'))
    )
    with op.batch_alter_table('asked', schema=None) as batch_op:
        batch_op.create_index(batch_op.f('ix_asked_who'), ['who'], unique=False)

    op.create_table('comments',
    sa.Column('id', sa.String(length=24), nullable=False),
    sa.Column('request_id', sa.String(length=24), nullable=False),
    sa.Column('person_id', sa.String(length=24), nullable=False),
    sa.Column('text', sa.String(length=2000), nullable=False),
    sa.Column('at', sa.DateTime(timezone=True), nullable=False),
    sa.ForeignKeyConstraint(['person_id'], ['people.id'], name=op.f('fk_comments_person_id_people')),
    sa.ForeignKeyConstraint(['request_id'], ['access_requests.id'], name=op.f('fk_comments_request_id_access_requests'), ondelete='CASCADE'),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_comments'))
    )
    with op.batch_alter_table('comments', schema=None) as batch_op:
        batch_op.create_index(batch_op.f('ix_comments_request_id'), ['request_id'], unique=False)

    op.create_table('decisions',
    sa.Column('id', sa.String(length=24), nullable=False),
    sa.Column('request_id', sa.String(length=24), nullable=False),
    sa.Column('requester_subject', sa.String(length=300), nullable=False),
    sa.Column('requester_human', sa.String(length=400), nullable=False),
    sa.Column('approver_id', sa.String(length=24), nullable=False),
    sa.Column('approver_subject', sa.String(length=300), nullable=False),
    sa.Column('approver_human', sa.String(length=400), nullable=False),
    sa.Column('round', sa.Integer(), nullable=False),
    sa.Column('stage', sa.Integer(), nullable=False),
    sa.Column('verdict', sa.String(length=8), nullable=False),
    sa.Column('seconds', sa.Integer(), nullable=False),
    sa.Column('namespaces', sa.JSON(), nullable=False),
    sa.Column('comment', sa.String(length=2000), nullable=False),
    sa.Column('digest', sa.String(length=64), nullable=False),
    sa.Column('at', sa.DateTime(timezone=True), nullable=False),
    sa.CheckConstraint("verdict IN ('approve', 'deny')", name=op.f('ck_decisions_verdict')),
    sa.CheckConstraint('approver_human <> requester_human', name=op.f('ck_decisions_not_ones_other_account')),
    sa.CheckConstraint('approver_subject <> requester_subject', name=op.f('ck_decisions_not_oneself')),
    sa.ForeignKeyConstraint(['approver_id'], ['people.id'], name=op.f('fk_decisions_approver_id_people')),
    sa.ForeignKeyConstraint(['request_id', 'requester_subject', 'requester_human'], ['access_requests.id', 'access_requests.requester_subject', 'access_requests.requester_human'], name='fk_decisions_request'),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_decisions')),
    sa.UniqueConstraint('request_id', 'round', 'approver_human', name=op.f('uq_decisions_request_id_round_approver_human')),
    sa.UniqueConstraint('request_id', 'round', 'approver_subject', name=op.f('uq_decisions_request_id_round_approver_subject'))
    )
    with op.batch_alter_table('decisions', schema=None) as batch_op:
        batch_op.create_index(batch_op.f('ix_decisions_approver_id'), ['approver_id'], unique=False)

    op.create_table('grants',
    sa.Column('id', sa.String(length=24), nullable=False),
    sa.Column('request_id', sa.String(length=24), nullable=False),
    sa.Column('person_id', sa.String(length=24), nullable=False),
    sa.Column('cluster_id', sa.String(length=24), nullable=True),
    sa.Column('cluster_name', sa.String(length=63), nullable=False),
    sa.Column('role_kind', sa.String(length=16), nullable=False),
    sa.Column('role_name', sa.String(length=253), nullable=False),
    sa.Column('namespaces', sa.JSON(), nullable=False),
    sa.Column('state', sa.String(length=16), nullable=False),
    sa.Column('seconds', sa.Integer(), nullable=False),
    sa.Column('starts_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('activated_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('ends_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('ended_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('end_reason', sa.String(length=16), nullable=False),
    sa.Column('ended_by', sa.String(length=255), nullable=False),
    sa.Column('applied_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('gone_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('warn_at', sa.DateTime(timezone=True), nullable=True),
    sa.CheckConstraint("state <> 'active' OR ends_at IS NOT NULL", name=op.f('ck_grants_active_has_an_end')),
    sa.CheckConstraint("state IN ('scheduled', 'active', 'ended')", name=op.f('ck_grants_state')),
    sa.ForeignKeyConstraint(['cluster_id'], ['clusters.id'], name=op.f('fk_grants_cluster_id_clusters'), ondelete='SET NULL'),
    sa.ForeignKeyConstraint(['person_id'], ['people.id'], name=op.f('fk_grants_person_id_people')),
    sa.ForeignKeyConstraint(['request_id'], ['access_requests.id'], name=op.f('fk_grants_request_id_access_requests')),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_grants')),
    sa.UniqueConstraint('request_id', name=op.f('uq_grants_request_id'))
    )
    with op.batch_alter_table('grants', schema=None) as batch_op:
        batch_op.create_index('ix_grants_cluster_id_state', ['cluster_id', 'state'], unique=False)
        batch_op.create_index(batch_op.f('ix_grants_person_id'), ['person_id'], unique=False)
        batch_op.create_index('ix_grants_state_ends_at', ['state', 'ends_at'], unique=False)
        batch_op.create_index('ix_grants_state_starts_at', ['state', 'starts_at'], unique=False)
        batch_op.create_index(batch_op.f('ix_grants_warn_at'), ['warn_at'], unique=False)

    with op.batch_alter_table('local_accounts', schema=None) as batch_op:
        batch_op.add_column(sa.Column('manager', sa.String(length=255), nullable=False, server_default=''))

    with op.batch_alter_table('people', schema=None) as batch_op:
        batch_op.add_column(sa.Column('entry', sa.String(length=512), nullable=False, server_default=''))
        batch_op.add_column(sa.Column('language', sa.String(length=8), nullable=False, server_default=''))
        batch_op.create_index(batch_op.f('ix_people_entry'), ['entry'], unique=False)

    for table, columns in (("local_accounts", ("manager",)), ("people", ("entry", "language"))):  # rows of before are filled by now
        with op.batch_alter_table(table) as batch_op:
            for column in columns:
                batch_op.alter_column(column, server_default=None)


def downgrade() -> None:
    with op.batch_alter_table('people', schema=None) as batch_op:
        batch_op.drop_index(batch_op.f('ix_people_entry'))
        batch_op.drop_column('language')
        batch_op.drop_column('entry')

    with op.batch_alter_table('local_accounts', schema=None) as batch_op:
        batch_op.drop_column('manager')

    with op.batch_alter_table('grants', schema=None) as batch_op:
        batch_op.drop_index(batch_op.f('ix_grants_warn_at'))
        batch_op.drop_index('ix_grants_state_starts_at')
        batch_op.drop_index('ix_grants_state_ends_at')
        batch_op.drop_index(batch_op.f('ix_grants_person_id'))
        batch_op.drop_index('ix_grants_cluster_id_state')

    op.drop_table('grants')
    with op.batch_alter_table('decisions', schema=None) as batch_op:
        batch_op.drop_index(batch_op.f('ix_decisions_approver_id'))

    op.drop_table('decisions')
    with op.batch_alter_table('comments', schema=None) as batch_op:
        batch_op.drop_index(batch_op.f('ix_comments_request_id'))

    op.drop_table('comments')
    with op.batch_alter_table('asked', schema=None) as batch_op:
        batch_op.drop_index(batch_op.f('ix_asked_who'))

    op.drop_table('asked')
    with op.batch_alter_table('access_requests', schema=None) as batch_op:
        batch_op.drop_index('ix_access_requests_state_urgent_at')
        batch_op.drop_index(batch_op.f('ix_access_requests_review_due_at'))
        batch_op.drop_index('ix_access_requests_person_id_created_at')
        batch_op.drop_index(batch_op.f('ix_access_requests_lapses_at'))
        batch_op.drop_index(batch_op.f('ix_access_requests_cluster_id'))
        batch_op.drop_index(batch_op.f('ix_access_requests_batch'))

    op.drop_table('access_requests')
    with op.batch_alter_table('notices', schema=None) as batch_op:
        batch_op.drop_index(batch_op.f('ix_notices_webhook_id'))
        batch_op.drop_index(batch_op.f('ix_notices_person_id'))
        batch_op.drop_index('ix_notices_next_attempt_at')

    op.drop_table('notices')
    op.drop_table('mutes')
    with op.batch_alter_table('drafts', schema=None) as batch_op:
        batch_op.drop_index(batch_op.f('ix_drafts_person_id'))

    op.drop_table('drafts')
    with op.batch_alter_table('approval_rules', schema=None) as batch_op:
        batch_op.drop_index(batch_op.f('ix_approval_rules_position'))

    op.drop_table('approval_rules')
    op.drop_table('webhooks')
    op.drop_table('emergency_doors')
    op.drop_table('catalogue_entries')
